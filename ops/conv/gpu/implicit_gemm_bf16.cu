// Instantiates the implicit matrix products for bf16.

#include "taper/ops/conv/gpu/implicit_gemm.cuh"

namespace taper::ops {

template void implicit_gemm_forward<__nv_bfloat16>(const Conv2dGeometry&, const void*, const void*,
                                                   const ConvEpilogue<__nv_bfloat16>&, void*, GemmTiles);
template void implicit_gemm_backward_input<__nv_bfloat16>(const Conv2dGeometry&, const void*, const void*,
                                                          void*, GemmTiles);
template void implicit_gemm_backward_weight<__nv_bfloat16>(const Conv2dGeometry&, const void*, const void*,
                                                           void*, bool, GemmTiles);

}  // namespace taper::ops
