// Stands in for the few calls of ONNX Runtime's C++ API that a bundle's classify.cpp makes; its logits are 0, 1, 2, …
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace Ort {
struct Env {
  Env(OrtLoggingLevel, const char*) {}
};
struct SessionOptions {
  SessionOptions& SetIntraOpNumThreads(int) { return *this; }
};
struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};
struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType, OrtMemType) { return {}; }
};
struct Value {
  std::vector<float> data;
  template <typename T>
  static Value CreateTensor(const MemoryInfo&, T*, size_t count, const int64_t* shape, size_t rank) {
    size_t wanted = 1;
    for (size_t i = 0; i < rank; ++i) wanted *= static_cast<size_t>(shape[i]);
    return Value{std::vector<float>(wanted == count ? 4096 : 0)};
  }
  template <typename T>
  const T* GetTensorData() const {
    return data.data();
  }
};
struct Session {
  explicit Session(std::nullptr_t) {}
  Session(const Env&, const char*, const SessionOptions&) {}
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;
  std::vector<Value> Run(const RunOptions&, const char* const*, const Value* given, size_t, const char* const*, size_t) {
    std::vector<Value> answers(1);
    for (size_t i = 0; i < given[0].data.size(); ++i) answers[0].data.push_back(static_cast<float>(i));
    return answers;
  }
};
}  // namespace Ort
