#pragma once
// Matrix products by other libraries, as candidates beside Taper's: Eigen's, compiled in, and OpenBLAS's, if
// it is installed. Both compute on the calling thread; matmul_cpu.cpp cuts a product into slices for threads.

#include <string>

#include "taper/ops/gemm/cpu/gemm.h"

namespace taper::ops {

/// "eigen 3.4.0".
std::string eigen_name();

/// c = a * b + beta * c. Arguments as for gemm_block(), but no size is 0.
template <class T>
void gemm_eigen(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

/// "openblas 0.3.21"; empty if this machine has no libopenblas.so.0 (Debian: libopenblas0). The first call
/// opens the library and sets its number of threads to one, for the whole process.
const std::string& openblas_name();

/// c = a * b + beta * c. Arguments as for gemm_eigen(), with sizes and strides below 2^31. Call it only if
/// openblas_name() is not empty.
template <class T>
void gemm_openblas(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

}  // namespace taper::ops
