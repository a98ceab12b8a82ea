// Instantiates the implicit matrix products for f16.

#include "taper/ops/conv/gpu/implicit_gemm.cuh"

namespace taper::ops {

template void implicit_gemm_forward<__half>(const Conv2dGeometry&, const void*, const void*,
                                            const ConvEpilogue<__half>&, void*, GemmTiles);
template void implicit_gemm_backward_input<__half>(const Conv2dGeometry&, const void*, const void*, void*,
                                                   GemmTiles);
template void implicit_gemm_backward_weight<__half>(const Conv2dGeometry&, const void*, const void*, void*,
                                                    bool, GemmTiles);

}  // namespace taper::ops
