#pragma once  // spine 12 (docs/0-the-spine.md)
// How Taper launches every kernel. Included by .cu files, after which
//
//   gpu::launch("relu", relu<float>, {.grid = blocks, .block = 256}, x, y, count);
//
// enqueues the kernel on the current stream of the current device, or throws Error naming kernel and
// configuration.

#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/simt.h"

namespace taper::gpu {

struct LaunchConfig {
  dim3 grid;   // blocks
  dim3 block;  // threads per block, at most 1024
  size_t dynamic_shared_bytes = 0;
  Stream stream = current_stream();
};

namespace detail {

/// Throws Error if no device could run this configuration.
void check_launch(const char* name, const LaunchConfig& config);

#if TAPER_SIMULATED_GPU
using ThreadCall = void (*)(const void* arguments);
void launch(const char* name, const LaunchConfig& config, ThreadCall call,
            std::shared_ptr<const void> arguments);
#else
void launch(const char* name, const LaunchConfig& config, const void* kernel, void** arguments);
#endif

}  // namespace detail

/// Enqueues `kernel` with `args`, which are converted to its parameter types. `name`, a literal, appears in
/// errors and profiles.
template <class... Params, class... Args>
void launch(const char* name, void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "launch: the kernel takes another number of arguments");
#if TAPER_SIMULATED_GPU
  struct Bound {
    void (*kernel)(Params...);
    std::tuple<Params...> params;
  };
  std::shared_ptr<const Bound> bound(new Bound{kernel, std::tuple<Params...>(static_cast<Params>(args)...)});
  detail::launch(
      name, config,
      [](const void* arguments) {
        const Bound& call = *static_cast<const Bound*>(arguments);
        std::apply(call.kernel, call.params);
      },
      std::move(bound));
#else
  std::tuple<Params...> params(static_cast<Params>(args)...);
  std::apply(
      [&](auto&... each) {
        void* pointers[sizeof...(Params) + 1] = {static_cast<void*>(&each)..., nullptr};
        detail::launch(name, config, reinterpret_cast<const void*>(kernel), pointers);
      },
      params);
#endif
}

}  // namespace taper::gpu
