#pragma once
// A vendor's library of kernels behind one small interface. A request is a plain struct, defined by a family
// of ops; the library offers engines that compute it. cudnn/engines.cpp implements the interface for cuDNN,
// cublaslt/gemm.cpp for cuBLASLt, and tests have a library of their own. The algorithm cache chooses the
// engine (library_algorithms.h).

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/vendor/blas_gemm.h"
#include "taper/ops/vendor/conv_pattern.h"
#include "taper/ops/vendor/engine_operands.h"
#include "taper/ops/vendor/norm_pattern.h"

namespace taper::ops {

/// A request to a library. Each pattern names its operands.
using EnginePattern = std::variant<ConvPattern, NormPattern, BlasGemm>;

/// An engine prepared for one pattern. (cuDNN: execution plan)
class EnginePlan {
 public:
  virtual ~EnginePlan() = default;
  /// Enqueues the operation on the current stream of the current device. `operands`: the pattern's.
  /// `workspace`: the engine's workspace_bytes. Throws AlgorithmFailed if the library refuses. Thread-safe.
  virtual void run(const EngineOperands& operands, void* workspace) const = 0;
  /// Returns bytes from which EngineLibrary::load() makes the plan again, in a process with the same library
  /// and kind of device. Throws Error if the library gives none. Called for engines that compile.
  virtual std::string serialized() const { fail("a plan that cannot be serialised"); }
};

/// One of a library's ways to compute a pattern. (cuDNN: engine configuration)
struct Engine {
  /// Its name is unique in the library. `run` is empty: the plan runs.
  Algorithm algorithm;
  /// Whether building its plan compiles code, about a second's work that other processes can reuse.
  bool compiles = false;
  /// Builds its plan on the current device. Throws AlgorithmFailed if the library refuses. Thread-safe.
  std::function<std::unique_ptr<EnginePlan>()> build;
};

class EngineLibrary {
 public:
  virtual ~EngineLibrary() = default;
  /// Returns the name with its version: "cudnn 9.19.0".
  virtual std::string name() const = 0;
  /// Returns the engines for `pattern` on the current device, the most promising first, each once; none if
  /// the library does not support it. Throws Error if the library fails. Thread-safe.
  virtual std::vector<Engine> engines(const EnginePattern& pattern) = 0;
  /// Returns the plan that gave these bytes (EnginePlan::serialized). Throws Error if the library cannot
  /// remake it. Thread-safe.
  virtual std::unique_ptr<EnginePlan> load(const std::string& /*serialized*/) {
    fail("{} loads no plans", name());
  }
};

/// The libraries that a build may have: cuBLASLt for matrix products, cuDNN for everything else.
enum class VendorLibrary : uint8_t { kCublaslt, kCudnn };

/// Makes a library, or throws Error with one line on why there is none.
using EngineLibraryLoader = std::function<std::unique_ptr<EngineLibrary>()>;

/// Returns this build's library, loaded at the first call. Null if the build has none, or if it could not be
/// loaded, which warn() reports once. Thread-safe.
std::shared_ptr<EngineLibrary> engine_library(VendorLibrary which);

/// Replaces the library from the next call of engine_library() on; an empty loader means none. Returns the
/// previous loader. Choices that the algorithm cache has made stay.
EngineLibraryLoader set_engine_library_loader(VendorLibrary which, EngineLibraryLoader loader);

/// Loads cuBLASLt. In builds with TAPER_HAVE_CUBLASLT only.
std::unique_ptr<EngineLibrary> load_cublaslt();

/// Loads cuDNN. In builds with TAPER_HAVE_CUDNN only. With `device`, cuDNN's JSON description of a device, it
/// lists and builds for that device, which need not be present; such plans cannot run. (cuDNN: deviceless
/// ahead-of-time compilation, since 9.8)
std::unique_ptr<EngineLibrary> load_cudnn(const std::string& device = {});

}  // namespace taper::ops
