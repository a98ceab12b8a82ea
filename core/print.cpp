// Tensor printing: one common width for all shown numbers, long axes shortened to their ends, in PyTorch's
// layout (torch/_tensor_str.py).

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"
#include "taper/core/views.h"

namespace taper {
namespace {

constexpr int64_t kThreshold = 1000;  ///< tensors with more elements are shortened
constexpr int64_t kEdge = 3;          ///< elements shown at each end of a shortened axis
constexpr int kLineWidth = 100;

Scalar value_at(const Tensor& x) {
  return dispatch(x.dtype(), [&]<class T>() -> Scalar {
    if constexpr (std::is_arithmetic_v<T>) {
      return *x.data<T>();
    } else {
      return float(*x.data<T>());
    }
  });
}

class Printer {
 public:
  explicit Printer(const Tensor& x) : shorten_(x.numel() > kThreshold) {
    std::vector<Scalar> values;
    collect(x, values);
    choose_format(x.dtype(), values);
  }

  std::string print(const Tensor& x, int indent) const {
    if (x.dim() == 0) return number(x);
    std::vector<std::string> parts;
    for_shown(x.size(0),
              [&](int64_t i) { parts.push_back(i < 0 ? "..." : print(views::select(x, 0, i), indent + 1)); });
    if (x.dim() == 1) return fmt::format("[{}]", wrap(parts, indent + 1));
    const std::string newlines(size_t(x.dim() - 1), '\n');
    const std::string separator = "," + newlines + std::string(size_t(indent) + 1, ' ');
    return fmt::format("[{}]", fmt::join(parts, separator));
  }

 private:
  template <class Visit>
  void for_shown(int64_t size, Visit visit) const {
    const bool cut = shorten_ && size > 2 * kEdge;
    for (int64_t i = 0; i < size; ++i) {
      if (cut && i == kEdge) {
        visit(-1);
        i = size - kEdge;
      }
      visit(i);
    }
  }

  void collect(const Tensor& x, std::vector<Scalar>& values) const {
    if (x.dim() == 0) {
      values.push_back(value_at(x));
      return;
    }
    for_shown(x.size(0), [&](int64_t i) {
      if (i >= 0) collect(views::select(x, 0, i), values);
    });
  }

  void choose_format(DType dtype, const std::vector<Scalar>& values) {
    if (is_floating_point(dtype)) {
      double largest = 0, smallest = INFINITY;
      bool whole = true;
      for (const Scalar& number : values) {
        const double value = number.to_double();
        if (!std::isfinite(value)) continue;
        whole = whole && value == std::nearbyint(value);
        if (value != 0) {
          largest = std::max(largest, std::abs(value));
          smallest = std::min(smallest, std::abs(value));
        }
      }
      scientific_ = largest >= 1e8 || (largest > 0 && (smallest < 1e-4 || largest / smallest > 1e3 * 1e3));
      digits_ = whole && !scientific_ ? 0 : 4;
      dot_ = digits_ == 0;
    }
    for (const Scalar& value : values) width_ = std::max(width_, text(value).size());
  }

  std::string text(const Scalar& number) const {
    if (!number.is_floating_point()) return number.str();
    const double value = number.to_double();
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
    if (scientific_) return fmt::format("{:.4e}", value);
    return fmt::format("{:.{}f}{}", value, digits_, dot_ ? "." : "");
  }

  std::string number(const Tensor& x) const { return fmt::format("{:>{}}", text(value_at(x)), width_); }

  std::string wrap(const std::vector<std::string>& parts, int indent) const {
    std::string result;
    size_t line = size_t(indent);
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string piece = parts[i] + (i + 1 < parts.size() ? "," : "");
      if (i > 0 && line + 1 + piece.size() > kLineWidth) {
        result += "\n" + std::string(size_t(indent), ' ');
        line = size_t(indent);
      } else if (i > 0) {
        result += ' ';
        ++line;
      }
      result += piece;
      line += piece.size();
    }
    return result;
  }

  bool shorten_;
  bool scientific_ = false, dot_ = false;
  int digits_ = 4;
  size_t width_ = 0;
};

/// Returns the nested brackets of a tensor that has elements.
std::string print_values(const Tensor& x) {
  return Printer(x).print(x, 7);
}

/// Returns x itself, or the same view of a copy of its storage on the CPU.
Tensor on_cpu(const Tensor& x) {
  if (x.device().is_cpu()) return x;
  const Storage& from = *x.storage();
  const Tensor bytes = empty({int64_t(from.size_bytes())}, {.dtype = kUInt8});
  const gpu::Stream stream = gpu::current_stream(x.device().index);
  gpu::copy_async(bytes.data_ptr(), from.data(), from.size_bytes(), gpu::CopyKind::kDeviceToHost, stream);
  stream.synchronize();
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = bytes.storage();
  impl->storage_offset = x.storage_offset();
  impl->shape = x.shape();
  impl->strides = x.strides();
  impl->numel = x.numel();
  impl->dtype = x.dtype();
  return Tensor(std::move(impl));
}

}  // namespace

std::string to_string(const Tensor& x) {
  if (!x.defined()) return "tensor(undefined)";
  std::string result = "tensor(";
  result += x.numel() == 0 ? "[]" : print_values(on_cpu(x));
  if (x.numel() == 0 && x.dim() != 1) result += fmt::format(", shape={}", x.shape());
  if (x.dtype() != kFloat32) result += fmt::format(", dtype={}", x.dtype());
  if (x.device().is_cuda()) result += fmt::format(", device={}", x.device());
  return result + ")";
}

}  // namespace taper
