// Classifies pictures with the model of the bundle around this folder, in C++14.
//
//   classify [--repeat N] MODEL PICTURE.ppm...      MODEL: ../model.onnx, or an engine where built with TensorRT
//
// With ONNX Runtime (its release holds headers and library):
//   g++ -O2 -std=c++14 classify.cpp -I ORT/include -L ORT/lib -lonnxruntime -o classify
// With TensorRT, on the board, after `sh ../build.sh`:
//   g++ -O2 -std=c++14 -DWITH_TENSORRT classify.cpp -I /usr/local/cuda/include -L /usr/local/cuda/lib64 -lnvinfer
//     -lcudart -o classify
//
// Pictures are binary PPM (`convert photo.jpg photo.ppm`); a camera's RGB frame goes into nuwa::model_input as it is.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>

#include "preprocess.h"

#ifdef WITH_TENSORRT
#include <NvInfer.h>
#include <cuda_runtime_api.h>
#else
#include <onnxruntime_cxx_api.h>
#endif

namespace nuwa {

#ifdef WITH_TENSORRT

inline void check(cudaError_t code, const char* call) {
  if (code != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(code));
}

class Log : public nvinfer1::ILogger {
  void log(Severity severity, const char* text) noexcept override {
    if (severity <= Severity::kWARNING) std::cerr << text << '\n';
  }
};

class Model {
 public:
  explicit Model(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be read");
    const std::vector<char> data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    runtime_.reset(nvinfer1::createInferRuntime(log_));
    engine_.reset(runtime_->deserializeCudaEngine(data.data(), data.size()));
    if (!engine_) throw std::runtime_error(path + " is no engine of this TensorRT: build it again here");
    context_.reset(engine_->createExecutionContext());
    check(cudaMalloc(&input_, kBatch * kInputSize * sizeof(Input)), "cudaMalloc");
    check(cudaMalloc(&output_, kBatch * kNumLabels * sizeof(float)), "cudaMalloc");
    check(cudaStreamCreate(&stream_), "cudaStreamCreate");
  }
  ~Model() {
    cudaFree(input_);
    cudaFree(output_);
    cudaStreamDestroy(stream_);
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::vector<float> run(std::vector<Input>& images) {
    std::vector<float> logits(kBatch * kNumLabels);
    check(cudaMemcpy(input_, images.data(), images.size() * sizeof(Input), cudaMemcpyHostToDevice), "cudaMemcpy");
#if NV_TENSORRT_MAJOR >= 10
    context_->setTensorAddress(kInputName, input_);
    context_->setTensorAddress(kOutputName, output_);
    const bool is_done = context_->enqueueV3(stream_);
#else
    void* bindings[2] = {nullptr, nullptr};
    bindings[engine_->getBindingIndex(kInputName)] = input_;
    bindings[engine_->getBindingIndex(kOutputName)] = output_;
    const bool is_done = context_->enqueueV2(bindings, stream_, nullptr);
#endif
    if (!is_done) throw std::runtime_error("TensorRT could not run the engine");
    check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    check(cudaMemcpy(logits.data(), output_, logits.size() * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return logits;
  }

 private:
  Log log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  void* input_ = nullptr;
  void* output_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

#else

class Model {
 public:
  explicit Model(const std::string& path) : env_(ORT_LOGGING_LEVEL_WARNING, "nuwa"), session_(nullptr) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session_ = Ort::Session(env_, path.c_str(), options);
  }

  std::vector<float> run(std::vector<Input>& images) {
    const int64_t shape[] = {kBatch, 3, kImageHeight, kImageWidth};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Value given = Ort::Value::CreateTensor<Input>(memory, images.data(), images.size(), shape, 4);
    const char* in[] = {kInputName};
    const char* out[] = {kOutputName};
    auto answers = session_.Run(Ort::RunOptions{nullptr}, in, &given, 1, out, 1);
    const float* logits = answers[0].GetTensorData<float>();
    return std::vector<float>(logits, logits + kBatch * kNumLabels);
  }

 private:
  Ort::Env env_;
  Ort::Session session_;
};

#endif

inline Picture read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int numbers[3] = {0, 0, 0};
  file >> kind;
  for (int& number : numbers) {
    while (file >> std::ws && file.peek() == '#') file.ignore(1 << 16, '\n');
    file >> number;
  }
  file.get();
  const bool is_sane = numbers[0] > 0 && numbers[1] > 0 && numbers[0] <= 89478485 / numbers[1];
  if (!file || kind != "P6" || numbers[2] != 255 || !is_sane) throw std::runtime_error("no binary PPM of 8 bits");
  Picture picture{numbers[0], numbers[1], std::vector<uint8_t>(static_cast<size_t>(numbers[0]) * numbers[1] * 3)};
  file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
  if (!file) throw std::runtime_error("it ends early");
  return picture;
}

inline void report(const std::string& path, const std::vector<float>& logits, double ms) {
  const double highest = *std::max_element(logits.begin(), logits.begin() + kNumLabels);
  std::vector<double> scores;
  for (int i = 0; i < kNumLabels; ++i) scores.push_back(std::exp(logits[static_cast<size_t>(i)] - highest));
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
  const double score = scores[static_cast<size_t>(best)] / sum;
  std::printf("%s: %s%s %.1f %%  %.2f ms\n", path.c_str(), score < kNoneBelow ? "none of these? " : "", kLabels[best],
              100 * score, ms);
}

}  // namespace nuwa

int main(int count, char** values) {
  std::vector<std::string> arguments(values + 1, values + count);
  int repeat = 1;
  if (arguments.size() >= 2 && arguments[0] == "--repeat") {
    repeat = std::max(1, std::atoi(arguments[1].c_str()));
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.size() < 2) {
    std::cerr << "usage: classify [--repeat N] MODEL PICTURE.ppm...\n";
    return 2;
  }
  bool has_failed = false;
  try {
    nuwa::Model model(arguments[0]);
    for (size_t i = 1; i < arguments.size(); ++i) {
      nuwa::Picture picture;
      try {
        picture = nuwa::read_ppm(arguments[i]);
      } catch (const std::runtime_error& error) {
        std::cerr << "not a readable image: " << arguments[i] << ": " << error.what() << '\n';
        has_failed = true;
        continue;
      }
      const std::vector<nuwa::Input> one = nuwa::model_input(picture);
      std::vector<nuwa::Input> images;
      for (int b = 0; b < nuwa::kBatch; ++b) images.insert(images.end(), one.begin(), one.end());
      std::vector<float> logits = model.run(images);  // the first run allocates
      const auto begun = std::chrono::steady_clock::now();
      for (int k = 0; k < repeat; ++k) logits = model.run(images);
      const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begun;
      nuwa::report(arguments[i], logits, spent.count() / repeat);
    }
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return has_failed ? 2 : 0;
}
