// From RGB bytes of any size to the model's input, as the bundle's Python programs make it: scaling as Pillow's
// Image.resize (separable, antialiased, 22-bit fixed point, width first), then cut or pad. C++14, no libraries. Bit for
// bit the same, but that Pillow 13 scales some tall pictures' height first: up to two levels of 255 apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.h"

namespace nuwa {

struct Picture {  // RGB, rows from the top, no padding
  int width = 0;
  int height = 0;
  std::vector<uint8_t> pixels;
};

constexpr int kBits = 32 - 8 - 2;  // of the filters' weights: Pillow's, for 8-bit pictures
constexpr double kPi = 3.14159265358979323846;
constexpr int kMaxAspect = 16;  // beyond it the Python programs scale only the middle, to rounding

inline double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * kPi) / (x * kPi); }

inline double filter_support(const std::string& name) {
  if (name == "box") return 0.5;
  if (name == "bilinear" || name == "hamming") return 1.0;
  if (name == "bicubic") return 2.0;
  if (name == "lanczos") return 3.0;
  throw std::runtime_error("interpolation " + name + " is not known");
}

inline double filter_weight(const std::string& name, double x) {
  if (name == "box") return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
  if (name == "lanczos") return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  x = std::fabs(x);
  if (name == "bilinear") return x < 1.0 ? 1.0 - x : 0.0;
  if (name == "hamming") return x == 0.0 ? 1.0 : x >= 1.0 ? 0.0 : sinc(x) * (0.54 + 0.46 * std::cos(x * kPi));
  const double a = -0.5;  // bicubic, Pillow's
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

struct Made {  // how the image is made: this model's way, unless told otherwise
  std::string crop_mode = kCropMode;
  std::string interpolation = kInterpolation;
  double crop_pct = kCropPct;
};

struct Taps {  // of one output pixel
  int first = 0;
  std::vector<int> weights;
};

inline std::vector<Taps> taps_of(int in_size, int out_size, const std::string& name) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter_support(name) * filter_scale;
  std::vector<Taps> all(static_cast<size_t>(out_size));
  for (int out = 0; out < out_size; ++out) {
    const double centre = (out + 0.5) * scale;
    const double step = 1.0 / filter_scale;
    const int first = std::max(0, static_cast<int>(centre - support + 0.5));
    const int last = std::min(in_size, static_cast<int>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0.0;
    for (int x = first; x < last; ++x) {
      weights.push_back(filter_weight(name, (x - centre + 0.5) * step));
      sum += weights.back();
    }
    Taps& taps = all[static_cast<size_t>(out)];
    taps.first = first;
    for (double w : weights) {
      const double part = (sum != 0.0 ? w / sum : w) * (1 << kBits);
      taps.weights.push_back(static_cast<int>(part < 0 ? part - 0.5 : part + 0.5));
    }
  }
  return all;
}

inline uint8_t clipped(int sum) { return static_cast<uint8_t>(std::min(255, std::max(0, sum >> kBits))); }

// Scale along one axis: step is the distance of two neighbours on it, in pixels.
inline Picture scaled_along(const Picture& in, int out_size, const std::string& name, bool is_horizontal) {
  const auto taps = taps_of(is_horizontal ? in.width : in.height, out_size, name);
  Picture out{is_horizontal ? out_size : in.width, is_horizontal ? in.height : out_size, {}};
  out.pixels.resize(static_cast<size_t>(out.width) * out.height * 3);
  const size_t step = is_horizontal ? 3 : static_cast<size_t>(in.width) * 3;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      const Taps& t = taps[static_cast<size_t>(is_horizontal ? x : y)];
      const size_t row = static_cast<size_t>(is_horizontal ? y : t.first);
      const size_t column = static_cast<size_t>(is_horizontal ? t.first : x);
      const uint8_t* from = in.pixels.data() + (row * in.width + column) * 3;
      uint8_t* to = out.pixels.data() + (static_cast<size_t>(y) * out.width + x) * 3;
      for (int c = 0; c < 3; ++c) {
        int sum = 1 << (kBits - 1);
        for (size_t k = 0; k < t.weights.size(); ++k) sum += from[k * step + c] * t.weights[k];
        to[c] = clipped(sum);
      }
    }
  }
  return out;
}

inline Picture nearest(const Picture& in, int width, int height) {
  Picture out{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  const double dx = static_cast<double>(in.width) / width, dy = static_cast<double>(in.height) / height;
  double y_in = dy * 0.5;
  for (int y = 0; y < height; ++y, y_in += dy) {
    double x_in = dx * 0.5;
    for (int x = 0; x < width; ++x, x_in += dx) {
      const size_t from = static_cast<size_t>(y_in) * in.width + static_cast<size_t>(x_in);
      std::copy_n(&in.pixels[from * 3], 3, &out.pixels[(static_cast<size_t>(y) * width + x) * 3]);
    }
  }
  return out;
}

inline Picture resized(const Picture& in, int width, int height, const std::string& name) {
  if (in.width == width && in.height == height) return in;
  if (name == "nearest") return nearest(in, width, height);
  Picture out = in;
  if (width != in.width) out = scaled_along(out, width, name, true);
  if (height != in.height) out = scaled_along(out, height, name, false);
  return out;
}

// Cut the centre out; where a side is shorter, pad it. nearbyint rounds halves to even, as Python does.
inline Picture cut(const Picture& in, const uint8_t (&fill)[3]) {
  constexpr int width = kImageWidth, height = kImageHeight;
  Picture padded = in;
  if (in.width < width || in.height < height) {
    const int wide = std::max(0, width - in.width), high = std::max(0, height - in.height);
    padded = Picture{in.width + wide, in.height + high, {}};
    padded.pixels.resize(static_cast<size_t>(padded.width) * padded.height * 3);
    for (size_t i = 0; i < padded.pixels.size(); ++i) padded.pixels[i] = fill[i % 3];
    for (int y = 0; y < in.height; ++y) {
      const size_t to = static_cast<size_t>(y + high / 2) * padded.width + wide / 2;
      std::copy_n(&in.pixels[static_cast<size_t>(y) * in.width * 3], in.width * 3, &padded.pixels[to * 3]);
    }
  }
  const int left = static_cast<int>(std::nearbyint((padded.width - width) / 2.0));
  const int top = static_cast<int>(std::nearbyint((padded.height - height) / 2.0));
  Picture out{width, height, std::vector<uint8_t>(static_cast<size_t>(width) * height * 3)};
  for (int y = 0; y < height; ++y) {
    const size_t from = static_cast<size_t>(y + top) * padded.width + left;
    std::copy_n(&padded.pixels[from * 3], width * 3, &out.pixels[static_cast<size_t>(y) * width * 3]);
  }
  return out;
}

inline Picture divided(const Picture& in, double ratio, const std::string& name) {
  const int width = std::max(1, static_cast<int>(std::nearbyint(in.width / ratio)));
  const int height = std::max(1, static_cast<int>(std::nearbyint(in.height / ratio)));
  return resized(in, width, height, name);
}

inline Picture fitted(const Picture& in, const Made& made) {
  if (in.width < 1 || in.height < 1) throw std::runtime_error("a picture without pixels");
  const int wide = static_cast<int>(std::floor(kImageWidth / made.crop_pct));
  const int high = static_cast<int>(std::floor(kImageHeight / made.crop_pct));
  const std::string &mode = made.crop_mode, &name = made.interpolation;
  const uint8_t black[3] = {0, 0, 0};
  if (mode == "squash") return cut(resized(in, wide, high, name), black);
  const double across = static_cast<double>(in.width) / wide, down = static_cast<double>(in.height) / high;
  const double more = std::max(across, down), less = std::min(across, down);
  if (mode == "border") return cut(divided(in, more, name), kFill);
  if (more > kMaxAspect * less) throw std::runtime_error("a picture longer than 16 times its other side");
  if (wide != high) return cut(divided(in, less, name), black);
  // of a square the long side is rounded down, of others to the nearest
  const int shorter = std::min(in.width, in.height), longer = std::max(in.width, in.height);
  const int along = static_cast<int>(static_cast<double>(static_cast<int64_t>(wide) * longer) / shorter);
  const bool is_upright = in.width <= in.height;
  return cut(resized(in, is_upright ? wide : along, is_upright ? along : wide, name), black);
}

// One picture as the model takes it: (3, H, W), channel after channel.
inline std::vector<Input> model_input(const Picture& in, const Made& made = Made()) {
  const Picture cut_out = fitted(in, made);
  const size_t area = static_cast<size_t>(kImageHeight) * kImageWidth;
  std::vector<Input> out(area * 3);
  for (size_t i = 0; i < area; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      float value = cut_out.pixels[i * 3 + c];
      if (kIsUnit || kIsNormalised) value /= 255.0f;
      if (kIsNormalised) value = (value - kMean[c]) / kStd[c];
      out[c * area + i] = static_cast<Input>(value);
    }
  }
  return out;
}

}  // namespace nuwa
