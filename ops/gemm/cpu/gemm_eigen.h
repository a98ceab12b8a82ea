#pragma once
// Eigen's matrix product, the reference beside our own. It computes on the calling thread; matmul_cpu.cpp cuts
// a product into slices for the threads.

#include <string>

#include "taper/ops/gemm/cpu/gemm.h"

namespace taper::ops {

/// "eigen 3.4.0".
std::string eigen_name();

/// c = a * b + beta * c; as gemm_block(), and no size is 0.
template <class T>
void gemm_eigen(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

}  // namespace taper::ops
