// Instantiates the implicit matrix products that gather moments, for every dtype but f64.

#include "taper/ops/conv/gpu/implicit_gemm.cuh"

namespace taper::ops {

template PartialMoments implicit_gemm_forward_moments<float>(const Conv2dGeometry&, const void*, const void*,
                                                             void*, GemmTiles);
template PartialMoments implicit_gemm_forward_moments<__half>(const Conv2dGeometry&, const void*, const void*,
                                                              void*, GemmTiles);
template PartialMoments implicit_gemm_forward_moments<__nv_bfloat16>(const Conv2dGeometry&, const void*,
                                                                     const void*, void*, GemmTiles);

}  // namespace taper::ops
