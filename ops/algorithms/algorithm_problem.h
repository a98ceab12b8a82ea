#pragma once  // spine 24 (docs/0-the-spine.md)
// What an op is asked to compute, as a key: all that decides which algorithm is fastest, and nothing else.
// Two calls with equal problems may use the same algorithm.
//
// A key is built on every call of an op, so it is a flat list of words on the stack: no heap, no text. Text
// is made only where people or files need it. PyTorch's counterpart: ConvolutionParams in
// ATen/native/cudnn/Conv_v8.cpp, one struct for each op; here one type serves all ops.

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "taper/core/tensor.h"

namespace taper {

/// A string literal. Problems keep and compare its address, which is faster than comparing its text.
class Literal {
 public:
  template <size_t N>
  consteval Literal(const char (&text)[N]) : text_(text) {}
  const char* c_str() const { return text_; }

 private:
  const char* text_;
};

/// Problem("conv2d", "backward_input", device).add("grad", grad).add("weight", weight).add("stride", {2, 2}).
class Problem {
 public:
  /// On the CPU the number of threads is part of a problem; the device's model always is.
  Problem(Literal op, Literal pass, Device device);

  /// Shape, strides and dtype of x; x may be undefined.
  Problem& add(Literal name, const Tensor& x);
  Problem& add(Literal name, DType dtype);   ///< such as the compute type
  Problem& add(Literal name, Literal word);  ///< such as the name of an epilogue
  Problem& add(Literal name, std::span<const int64_t> numbers);
  Problem& add(Literal name, std::initializer_list<int64_t> numbers) {
    return add(name, std::span(numbers.begin(), numbers.size()));
  }

  Device device() const;
  uint64_t hash() const;
  bool operator==(const Problem& other) const;

  /// "conv2d forward x=f32[8,64,56,56]:channels_last ... stride=1,1". A contiguous tensor shows no strides.
  std::string str() const;
  /// What it runs on: the device's model, the CPU's threads, the versions of Taper and of NVIDIA's libraries.
  std::string environment() const;

 private:
  void push(uint64_t word);

  static constexpr int kMostWords = 96;  // four tensors of 8 dimensions and a dozen numbers
  int size_ = 0;
  uint64_t words_[kMostWords];  // the first size_ are set
};

/// Returns the largest power of two, at most 256, that divides all addresses; null pointers do not count.
/// Vendors' kernels may rely on it, so their problems contain it.
int64_t common_alignment(std::initializer_list<const void*> addresses);

struct ProblemHash {
  size_t operator()(const Problem& problem) const { return size_t(problem.hash()); }
};

}  // namespace taper
