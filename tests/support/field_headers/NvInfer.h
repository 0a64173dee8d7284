// Stands in for the few calls of TensorRT's C++ API that a bundle's classify.cpp makes, of 8 or of 10
// (-DNV_TENSORRT_MAJOR): neither has the other's.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cuda_runtime_api.h>

namespace nvinfer1 {
struct ILogger {
  enum class Severity : int32_t { kINTERNAL_ERROR, kERROR, kWARNING, kINFO, kVERBOSE };
  virtual void log(Severity severity, const char* text) noexcept = 0;
  virtual ~ILogger() = default;
};
struct IExecutionContext {
#if NV_TENSORRT_MAJOR >= 10
  bool setTensorAddress(const char* name, void* data) noexcept;
  bool enqueueV3(cudaStream_t stream) noexcept;
#else
  bool enqueueV2(void* const* bindings, cudaStream_t stream, void* event) noexcept;
#endif
};
struct ICudaEngine {
  IExecutionContext* createExecutionContext() noexcept;
#if NV_TENSORRT_MAJOR < 10
  int32_t getBindingIndex(const char* name) const noexcept;
#endif
};
struct IRuntime {
  ICudaEngine* deserializeCudaEngine(const void* data, size_t size) noexcept;
};
IRuntime* createInferRuntime(ILogger& logger) noexcept;
}  // namespace nvinfer1
