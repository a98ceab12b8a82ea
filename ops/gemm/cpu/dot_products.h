#pragma once
// Products of a large matrix with very few vectors, as in the last layer of a network that classifies one
// picture. Each element of the large matrix is used a few times only, so the time goes into fetching it, and
// packing it first (gemm_pack.h) would fetch it twice. Here it is read once, where it lies.

#include "taper/ops/gemm/cpu/gemm.h"

namespace taper::ops {

/// c = a * b + beta * c, each element of a * b as the dot product of a row of a and a column of b, which must
/// be contiguous (a not transposed, b transposed); beta = 0 overwrites whatever c held. The same bits for any
/// number of threads.
template <class T>
void dot_products(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

}  // namespace taper::ops
