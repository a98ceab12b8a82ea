#include "taper/ops/matmul/gemm_library.h"

#include <mutex>
#include <utility>

#include "taper/core/error.h"
#include "taper/core/warning.h"

namespace taper::ops {
namespace {

struct LibrarySlot {
  std::mutex mutex;
#if TAPER_HAVE_CUBLASLT
  GemmLibraryLoader loader = load_cublaslt;
#else
  GemmLibraryLoader loader;
#endif
  bool tried = false;
  std::shared_ptr<GemmLibrary> library;
};

LibrarySlot& slot() {
  static LibrarySlot& slot = *new LibrarySlot;  // ops may run while static objects are destroyed
  return slot;
}

}  // namespace

std::shared_ptr<GemmLibrary> gemm_library() {
  const std::lock_guard lock(slot().mutex);
  if (!slot().tried) {
    slot().tried = true;
    try {
      if (slot().loader) slot().library = slot().loader();
    } catch (const Error& error) {
      warn(fmt::format("{}; matrix products use Taper's own kernels", error.what()));
    }
  }
  return slot().library;
}

GemmLibraryLoader set_gemm_library_loader(GemmLibraryLoader loader) {
  const std::lock_guard lock(slot().mutex);
  slot().tried = false;
  slot().library = nullptr;
  return std::exchange(slot().loader, std::move(loader));
}

}  // namespace taper::ops
