#pragma once
// Matrix products as BLAS libraries describe them: column-major, with a leading dimension and one batch
// stride. A row-major matrix of gpu/gemm.h is the transpose of a BLAS matrix, so
//
//   row-major     c [m, n] = a [m, k] b [k, n]   is
//   column-major  c^T      = b^T a^T
//
// without moving anything. Their first operand is our second, their m our n; a bias along our rows runs along
// their columns. Nothing here depends on a library.

#include <cstdint>
#include <optional>

#include "taper/ops/gemm/gpu/gemm.h"
#include "taper/ops/vendor/engine_operands.h"

namespace taper::ops {

/// The error of gelu in a library's epilogue. cuBLASLt uses the form with tanh, as Taper does, but does not
/// say how exact its tanh is. The hardware's instruction is off by up to 2^-11 (PTX ISA: tanh.approx.f32),
/// and gelu(x) by that share of x / 2.
inline constexpr double kBlasGeluEpsilon = 0x1p-11;

/// Matrices in device memory: element (i, j) of matrix `batch` is at batch * batch_stride + j * ld + i.
struct BlasMatrix {
  int64_t rows = 0, cols = 0;  ///< as stored, before any transposition
  int64_t ld = 0;              ///< at least `rows`
  int64_t batch_stride = 0;    ///< may be 0 for operands shared by all products of a batch
};

/// d = activation(op(a) op(b) + c + bias) for each of `batches` matrices, where op() may transpose. op(a): m
/// x k, op(b): k x n, d: m x n. A pattern of engine_library.h. Operands: kA, kB, kC, kD and kBias.
struct BlasGemm {
  DType dtype = kFloat32;   ///< f32, f64, f16 or bf16, of all operands; half types add in f32
  bool f32_result = false;  ///< d is f32 where the other operands are half types
  bool allow_tf32 = false;  ///< f32 operands may be rounded to TF32
  int64_t m = 0, n = 0, k = 0;
  int64_t batches = 1;
  bool transpose_a = false, transpose_b = false;
  BlasMatrix a, b, d;
  bool c = false;     ///< c is added; it is laid out as d
  bool bias = false;  ///< a bias [m] is added to every column
  int64_t bias_batch_stride = 0;
  Activation activation = Activation::kNone;
  int64_t alignment = 256;  ///< bytes that divide all addresses
};

/// Returns `gemm` as a BlasGemm. Nothing if it has no such form: an empty product, or two batch axes that one
/// stride does not cover.
std::optional<BlasGemm> blas_gemm(const GpuGemm& gemm);

/// Returns the operands of blas_gemm(gemm).
EngineOperands blas_operands(const GpuGemm& gemm, Device device);

/// Returns the alignment() of blas_operands(gemm).
int64_t alignment_of(const GpuGemm& gemm);

}  // namespace taper::ops
