#include "taper/ops/vendor/gemm_library.h"

#include "taper/ops/vendor/vendor_library.h"

namespace taper::ops {
namespace {

VendorLibrary<GemmLibrary>& gemm_slot() {
#if TAPER_HAVE_CUBLASLT
  const GemmLibraryLoader loader = load_cublaslt;
#else
  const GemmLibraryLoader loader;
#endif
  // Never destroyed: ops may run while other static objects are.
  static auto& slot = *new VendorLibrary<GemmLibrary>(loader, "matrix products use Taper's own kernels");
  return slot;
}

}  // namespace

std::shared_ptr<GemmLibrary> gemm_library() {
  return gemm_slot().get();
}

GemmLibraryLoader set_gemm_library_loader(GemmLibraryLoader loader) {
  return gemm_slot().set_loader(std::move(loader));
}

}  // namespace taper::ops
