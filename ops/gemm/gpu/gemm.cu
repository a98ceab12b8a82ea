#include "taper/ops/gemm/gpu/gemm.h"

#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/device_dtype.cuh"
#include "taper/ops/gemm/gpu/gemm_typed.h"

namespace taper::ops {

void check_gemm_sizes(const char* op, const GemmSizes& sizes) {
  for (const int64_t size : {sizes.m, sizes.n, sizes.k, sizes.batches()}) {
    TAPER_CHECK(size <= kMaxGpuLoop,
                "{}: {} products [{}, {}] x [{}, {}] have a side beyond the {} that the GPU's kernels index; "
                "cut them into parts",
                op, sizes.batches(), sizes.m, sizes.k, sizes.k, sizes.n, kMaxGpuLoop);
  }
}

void gemm_gpu(const char* op, const GpuGemm& gemm) {
  check_gemm_sizes(op, gemm.sizes);
  dispatch_device_float(gemm.dtype, [&]<class T>() { gemm_typed<T>(gemm); });
}

}  // namespace taper::ops
