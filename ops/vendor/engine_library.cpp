#include "taper/ops/vendor/engine_library.h"

#include "taper/ops/vendor/vendor_library.h"

namespace taper::ops {
namespace {

VendorLibrary<EngineLibrary>& engine_slot() {
#if TAPER_HAVE_CUDNN
  const EngineLibraryLoader loader = [] { return load_cudnn(); };
#else
  const EngineLibraryLoader loader;
#endif
  // Never destroyed: ops may run while other static objects are.
  static auto& slot =
      *new VendorLibrary<EngineLibrary>(loader, "convolutions and batch norm use Taper's own kernels");
  return slot;
}

}  // namespace

std::shared_ptr<EngineLibrary> engine_library() {
  return engine_slot().get();
}

EngineLibraryLoader set_engine_library_loader(EngineLibraryLoader loader) {
  return engine_slot().set_loader(std::move(loader));
}

}  // namespace taper::ops
