#include "taper/ops/vendor/engine_library.h"

#include <mutex>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"

namespace taper::ops {
namespace {

/// A library that the process opens when an op first needs it.
class Slot {
 public:
  /// `without`: the consequence if the library cannot be loaded.
  Slot(EngineLibraryLoader loader, const char* without) : loader_(std::move(loader)), without_(without) {}

  std::shared_ptr<EngineLibrary> get() {
    const std::lock_guard lock(mutex_);
    if (!tried_) {
      tried_ = true;
      try {
        if (loader_) library_ = loader_();
      } catch (const Error& error) {
        warn(fmt::format("{}; {}", error.what(), without_));
      }
    }
    return library_;
  }

  EngineLibraryLoader set_loader(EngineLibraryLoader loader) {
    const std::lock_guard lock(mutex_);
    tried_ = false;
    library_ = nullptr;
    return std::exchange(loader_, std::move(loader));
  }

 private:
  std::mutex mutex_;
  EngineLibraryLoader loader_;
  const char* without_;
  bool tried_ = false;
  std::shared_ptr<EngineLibrary> library_;
};

EngineLibraryLoader cublaslt_loader() {
#if TAPER_HAVE_CUBLASLT
  return load_cublaslt;
#else
  return {};
#endif
}

EngineLibraryLoader cudnn_loader() {
#if TAPER_HAVE_CUDNN
  return [] { return load_cudnn(); };
#else
  return {};
#endif
}

Slot& slot(VendorLibrary which) {
  // Never destroyed: ops may run while other static objects are destroyed.
  static auto& cublaslt = *new Slot(cublaslt_loader(), "matrix products use Taper's own kernels");
  static auto& cudnn = *new Slot(cudnn_loader(), "convolutions and batch norm use Taper's own kernels");
  return which == VendorLibrary::kCublaslt ? cublaslt : cudnn;
}

}  // namespace

std::shared_ptr<EngineLibrary> engine_library(VendorLibrary which) {
  return slot(which).get();
}

EngineLibraryLoader set_engine_library_loader(VendorLibrary which, EngineLibraryLoader loader) {
  return slot(which).set_loader(std::move(loader));
}

}  // namespace taper::ops
