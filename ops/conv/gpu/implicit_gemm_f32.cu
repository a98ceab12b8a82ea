// Instantiates the implicit matrix products for f32 and f64.

#include "taper/ops/conv/gpu/implicit_gemm.cuh"

namespace taper::ops {

template void implicit_gemm_forward<float>(const Conv2dGeometry&, const void*, const void*,
                                           const ConvEpilogue<float>&, void*, GemmTiles);
template void implicit_gemm_backward_input<float>(const Conv2dGeometry&, const void*, const void*, void*,
                                                  GemmTiles);
template void implicit_gemm_backward_weight<float>(const Conv2dGeometry&, const void*, const void*, void*,
                                                   bool, GemmTiles);

template void implicit_gemm_forward<double>(const Conv2dGeometry&, const void*, const void*,
                                            const ConvEpilogue<double>&, void*, GemmTiles);
template void implicit_gemm_backward_input<double>(const Conv2dGeometry&, const void*, const void*, void*,
                                                   GemmTiles);
template void implicit_gemm_backward_weight<double>(const Conv2dGeometry&, const void*, const void*, void*,
                                                    bool, GemmTiles);

}  // namespace taper::ops
