#pragma once
// Random numbers, dropout and permutations.
//
// Every function takes a range of counters from the generator. It computes element i (in row-major order,
// whatever the layout) from the range's block i / 4, lane i % 4. f64 and ranges beyond 2^32 take two lanes an
// element, so block i / 2. The numbers are equal on every device and for any number of threads, with two
// exceptions: a GPU's logarithm, sine and cosine change normal numbers by an ulp or two, and compilers may
// round low + u * range once or twice. On a GPU whose current stream captures a graph all functions throw
// CaptureError, because every replay would draw the same numbers, unless graph_draws.h takes part. PyTorch's counterpart:
// ATen/native/Distributions.cpp, Dropout.cpp.

#include "taper/core/generator.h"
#include "taper/core/tensor.h"

namespace taper::ops {

// ---- In place: x gets the values and a new version. All throw Error if elements of x share memory. ----

/// Uniform in [low, high); half types round to nearest, so high itself can appear. Floating-point. Throws
/// Error unless low <= high.
void uniform_(const Tensor& x, double low = 0, double high = 1, Generator& generator = default_generator());
/// Normal, by Box and Muller's transform of pairs of elements (1958). Floating-point. Throws Error for a
/// negative std.
void normal_(const Tensor& x, double mean = 0, double std = 1, Generator& generator = default_generator());
/// 1 with probability p, else 0. Throws Error unless 0 <= p <= 1.
void bernoulli_(const Tensor& x, double p = 0.5, Generator& generator = default_generator());
/// Integers low, ..., high - 1, as x's dtype. Throws Error unless low < high and all these integers fit the
/// dtype.
void randint_(const Tensor& x, int64_t low, int64_t high, Generator& generator = default_generator());

// ---- New tensors ----

/// Uniform in [0, 1).
Tensor rand(const Shape& shape, const TensorOptions& options = {},
            Generator& generator = default_generator());
/// Normal with mean 0 and standard deviation 1.
Tensor randn(const Shape& shape, const TensorOptions& options = {},
             Generator& generator = default_generator());
/// Integers low, ..., high - 1; i64 unless the options say otherwise.
Tensor randint(int64_t low, int64_t high, const Shape& shape,
               const TensorOptions& options = {.dtype = kInt64}, Generator& generator = default_generator());
/// 0, ..., count - 1 in random order, i64.
Tensor randperm(int64_t count, Generator& generator = default_generator());

struct DropoutResult {
  Tensor y;
  Tensor mask;  ///< bool, x's shape: true where an element was kept
};
/// Zeroes each element of x with probability p and divides the others by 1 - p. Floating-point. Throws Error
/// unless 0 <= p <= 1. Srivastava et al., JMLR 2014.
DropoutResult dropout(const Tensor& x, double p, Generator& generator = default_generator());

}  // namespace taper::ops
