#pragma once
// One of a vendor's libraries that a process opens when an op first asks for it: cuBLASLt, cuDNN.

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"

namespace taper::ops {

template <class Library>
class VendorLibrary {
 public:
  /// Makes the library, or throws Error saying in one line why there is none.
  using Loader = std::function<std::unique_ptr<Library>()>;

  /// `without`: how things go on if it cannot be loaded, as "matrix products use Taper's own kernels".
  VendorLibrary(Loader loader, std::string without)
      : loader_(std::move(loader)), without_(std::move(without)) {}

  /// Loaded at the first call; null if there is no loader, or if it failed, which is reported once by warn().
  std::shared_ptr<Library> get() {
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

  /// From the next call of get() on; returns the loader before it.
  Loader set_loader(Loader loader) {
    const std::lock_guard lock(mutex_);
    tried_ = false;
    library_ = nullptr;
    return std::exchange(loader_, std::move(loader));
  }

 private:
  std::mutex mutex_;
  Loader loader_;
  std::string without_;
  bool tried_ = false;
  std::shared_ptr<Library> library_;
};

}  // namespace taper::ops
