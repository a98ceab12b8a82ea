// GCC 12 considers the results of its own AVX-512 functions uninitialised:
// https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define EIGEN_DONT_PARALLELIZE
#include "taper/ops/gemm/cpu/gemm_eigen.h"

#include <fmt/format.h>

#include <Eigen/Core>

namespace taper::ops {
namespace {

template <class T>
using RowMajor = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
using Mapped = Eigen::Map<M, Eigen::Unaligned, Eigen::OuterStride<>>;

/// Calls body(matrix) with an Eigen expression of m.
template <class T, class Body>
void with_eigen(const Matrix<const T>& m, Body&& body) {
  using Map = Mapped<const RowMajor<T>>;
  if (m.transposed) {
    body(Map(m.data, m.cols, m.rows, Eigen::OuterStride<>(m.stride)).transpose());
  } else {
    body(Map(m.data, m.rows, m.cols, Eigen::OuterStride<>(m.stride)));
  }
}

}  // namespace

std::string eigen_name() {
  return fmt::format("eigen {}.{}.{}", EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION);
}

template <class T>
void gemm_eigen(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  Mapped<RowMajor<T>> result(c.data, c.rows, c.cols, Eigen::OuterStride<>(c.stride));
  with_eigen(a, [&](const auto& left) {
    with_eigen(b, [&](const auto& right) {
      if (beta == T(0)) {
        result.noalias() = left * right;
      } else {
        result *= beta;
        result.noalias() += left * right;
      }
    });
  });
}

template void gemm_eigen(const Matrix<const float>&, const Matrix<const float>&, float, const Matrix<float>&);
template void gemm_eigen(const Matrix<const double>&, const Matrix<const double>&, double,
                         const Matrix<double>&);

}  // namespace taper::ops
