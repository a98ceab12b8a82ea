#pragma once
// Taper's batched matrix products on the GPU, on raw memory; gemm_call.h chooses among them and a library's.
// Only enqueues, on the current stream of the current device.

#include <cstdint>

#include "taper/core/base/dtype.h"
#include "taper/ops/activation.h"

namespace taper::ops {

/// [m, k] x [k, n], once for each of batch_outer * batch_inner matrices.
struct GemmSizes {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch_outer = 1, batch_inner = 1;

  int64_t batches() const { return batch_outer * batch_inner; }
};

/// Throws Error naming `op` if a size is too large for the kernels' 31-bit indices.
void check_gemm_sizes(const char* op, const GemmSizes& sizes);

/// The size of a block's tile. A large tile reads less per multiplication; small tiles fill the device with
/// less work. f64 has one size.
enum class GemmTiles : uint8_t { kUsual, kLarge, kSmall };

/// A batch of matrices in device memory: element (i, j) is data[i * stride + j], or data[j * stride + i] when
/// transposed, plus the matrix's offset in the batch. Batch strides may be 0.
struct GpuMatrix {
  void* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
  int64_t batch_outer = 0, batch_inner = 0;
};

/// c = activation(a b + bias + residual); activation, bias and residual are optional.
struct GpuGemm {
  DType dtype = kFloat32;   ///< f32, f64, f16 or bf16, of all operands
  bool f32_result = false;  ///< f16 and bf16 give c in f32: see gemm_gpu()
  GemmSizes sizes;
  GpuMatrix a, b;
  GpuMatrix c;                     ///< not transposed
  const void* bias = nullptr;      ///< [n]
  int64_t bias_batch_inner = 0;    ///< stride of bias along the batch's inner axis
  const void* residual = nullptr;  ///< laid out as c
  Activation activation = Activation::kNone;
  bool allow_tf32 = false;  ///< a library may round f32 operands to TF32; Taper's kernels never do
  GemmTiles tiles = GemmTiles::kUsual;
};

/// Computes `gemm`. f16 and bf16 sum in f32 and round once at the end. With f32_result they do not round; c is
/// then dense and has no bias, residual or activation. Sizes may be 0. Activation: none or ReLU. Throws Error naming `op` if a size is too large.
void gemm_gpu(const char* op, const GpuGemm& gemm);

}  // namespace taper::ops
