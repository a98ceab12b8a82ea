#pragma once
// Products of a large matrix with very few vectors, as in a classifier's last layer for one image. Each
// element of the large matrix is used only a few times, so fetching it limits the speed, and packing
// (gemm_pack.h) would fetch it twice. Here the matrix is read once, in place.

#include "taper/ops/gemm/cpu/gemm.h"

namespace taper::ops {

/// c = a * b + beta * c. Each element of a * b is the dot product of a row of a and a column of b, which must
/// be contiguous (a not transposed, b transposed). beta = 0 overwrites whatever c held. The result is the
/// same bits for any number of threads. T: float, double, Half or BFloat16. Sum: double for double, else
/// float. Out: T or Sum.
template <class T, class Sum, class Out>
void dot_products(const Matrix<const T>& a, const Matrix<const T>& b, Sum beta, const Matrix<Out>& c);

}  // namespace taper::ops
