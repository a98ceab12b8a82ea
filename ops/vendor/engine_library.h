#pragma once
// A vendor's library of kernels, seen through one small interface: it is asked for an operation, described by
// a plain struct that its family of ops defines, and offers engines that compute it. cudnn/engines.cpp
// implements it for cuDNN, tests for a library of their own. Which engine is taken is the algorithm cache's
// business (library_candidates.h). Matrix products have a library and an interface of their own
// (ops/vendor/gemm_library.h).

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "taper/ops/vendor/conv_pattern.h"
#include "taper/ops/vendor/engine_operands.h"
#include "taper/ops/vendor/norm_pattern.h"

namespace taper::ops {

/// What a library is asked for. Each pattern names its operands.
using EnginePattern = std::variant<ConvPattern, NormPattern>;

/// An engine made ready for one pattern. (cuDNN: execution plan)
class EnginePlan {
 public:
  virtual ~EnginePlan() = default;
  /// Enqueues the operation on the current stream of the current device. `operands` are the pattern's;
  /// `workspace` has the engine's workspace_bytes. Throws AlgorithmFailed if the library refuses.
  /// Thread-safe.
  virtual void run(const EngineOperands& operands, void* workspace) const = 0;
  /// Bytes from which EngineLibrary::load() makes the plan again, in a process with the same library and kind
  /// of device. Throws Error if the library does not give any.
  virtual std::string serialized() const = 0;
};

/// One of a library's ways to compute a pattern. (cuDNN: engine configuration)
struct Engine {
  std::string name;  ///< everything that tells it from the library's others
  size_t workspace_bytes = 0;
  bool deterministic = true;    ///< equal inputs give equal bits
  bool rounds_to_tf32 = false;  ///< multiplies f32 operands in TF32
  /// Building its plan compiles code, which takes in the order of a second: worth keeping for other
  /// processes.
  bool compiles = false;
  /// Makes it ready on the current device. Throws AlgorithmFailed if the library refuses. Thread-safe.
  std::function<std::unique_ptr<EnginePlan>()> build;
};

class EngineLibrary {
 public:
  virtual ~EngineLibrary() = default;
  /// With its version: "cudnn 9.19.0".
  virtual std::string name() const = 0;
  /// The engines for `pattern` on the current device, the most promising first and each once; empty if the
  /// library supports none. Throws Error if the library fails. Thread-safe.
  virtual std::vector<Engine> engines(const EnginePattern& pattern) = 0;
  /// The plan that gave these bytes (EnginePlan::serialized). Throws Error if the library cannot make it of
  /// them. Thread-safe.
  virtual std::unique_ptr<EnginePlan> load(const std::string& serialized) = 0;
};

/// Makes a library, or throws Error saying in one line why there is none.
using EngineLibraryLoader = std::function<std::unique_ptr<EngineLibrary>()>;

/// The library of this build, loaded at the first call; null if the build has none, or if it could not be
/// loaded, which is reported once by warn(). Thread-safe.
std::shared_ptr<EngineLibrary> engine_library();

/// Takes another library from the next call of engine_library() on, or none (an empty loader). Returns the
/// loader before it. Choices that the algorithm cache has made stay.
EngineLibraryLoader set_engine_library_loader(EngineLibraryLoader loader);

/// Loads cuDNN, in builds with TAPER_HAVE_CUDNN only. With `device`, cuDNN's JSON description of a device, it
/// lists and builds for that device, which need not be there; plans then cannot run. (cuDNN: deviceless
/// ahead-of-time compilation, since 9.8)
std::unique_ptr<EngineLibrary> load_cudnn(const std::string& device = {});

}  // namespace taper::ops
