#pragma once
// Convolutions of a vendor's library, seen through one small interface: conv2d_cudnn.cpp implements it for
// cuDNN, tests for a library of their own. Which engine is taken is the algorithm cache's business
// (conv2d_library.h).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "taper/ops/conv/conv2d_call.h"

namespace taper::ops {

/// What a library is asked for. Images are [N, H, W, C] in memory, weights [K, R, S, C / groups]; sums are
/// f32.
struct ConvPattern {
  Conv2dPass pass = Conv2dPass::kForward;
  Conv2dGeometry conv;
  DType dtype = kFloat32;                             ///< f32, f16 or bf16, of all operands
  bool allow_tf32 = false;                            ///< f32 operands may be rounded to TF32
  bool bias = false, residual = false, relu = false;  ///< forward only: y = relu(sums + bias + residual)
  int64_t alignment = 16;                             ///< of all operands' addresses, in bytes

  static ConvPattern of(const Conv2dCall& call);
};

/// Where one call's operands are. Null for what the pattern has not.
struct ConvPointers {
  const void* first = nullptr;   ///< x forward, else the output's gradient
  const void* second = nullptr;  ///< the weight, or x for the weight's gradient
  const void* bias = nullptr;
  const void* residual = nullptr;
  void* result = nullptr;

  static ConvPointers of(const Conv2dCall& call);
};

/// An engine made ready for one pattern. (cuDNN: execution plan)
class ConvEnginePlan {
 public:
  virtual ~ConvEnginePlan() = default;
  /// Enqueues the convolution on the current stream of the current device. `workspace` has the engine's
  /// workspace_bytes. Throws AlgorithmFailed if the library refuses. Thread-safe.
  virtual void run(const ConvPointers& pointers, void* workspace) const = 0;
  /// Bytes from which ConvLibrary::load() makes the plan again, in a process with the same library and kind
  /// of device. Throws Error if the library does not give any.
  virtual std::string serialized() const = 0;
};

/// One of a library's ways to compute a pattern. (cuDNN: engine configuration)
struct ConvEngine {
  std::string name;  ///< everything that tells it from the library's others
  size_t workspace_bytes = 0;
  bool deterministic = true;    ///< equal inputs give equal bits
  bool rounds_to_tf32 = false;  ///< multiplies f32 operands in TF32
  /// Building its plan compiles code, which takes in the order of a second: worth keeping for other
  /// processes.
  bool compiles = false;
  /// Makes it ready on the current device. Throws AlgorithmFailed if the library refuses. Thread-safe.
  std::function<std::unique_ptr<ConvEnginePlan>()> build;
};

class ConvLibrary {
 public:
  virtual ~ConvLibrary() = default;
  /// With its version: "cudnn 9.19.0".
  virtual std::string name() const = 0;
  /// The engines for `pattern` on the current device, the most promising first and each once; empty if the
  /// library supports none. Throws Error if the library fails. Thread-safe.
  virtual std::vector<ConvEngine> engines(const ConvPattern& pattern) = 0;
  /// The plan that gave these bytes (ConvEnginePlan::serialized). Throws Error if the library cannot make it
  /// of them. Thread-safe.
  virtual std::unique_ptr<ConvEnginePlan> load(const std::string& serialized) = 0;
};

/// Makes a library, or throws Error saying in one line why there is none.
using ConvLibraryLoader = std::function<std::unique_ptr<ConvLibrary>()>;

/// The library of this build, loaded at the first call; null if the build has none, or if it could not be
/// loaded, which is reported once by warn(). Thread-safe.
std::shared_ptr<ConvLibrary> conv_library();

/// Takes another library from the next call of conv_library() on, or none (an empty loader). Returns the
/// loader before it. Choices that the algorithm cache has made stay.
ConvLibraryLoader set_conv_library_loader(ConvLibraryLoader loader);

/// Loads cuDNN, in builds with TAPER_HAVE_CUDNN only. With `device`, cuDNN's JSON description of a device, it
/// lists and builds for that device, which need not be there; plans then cannot run. (cuDNN: deviceless
/// ahead-of-time compilation, since 9.8)
std::unique_ptr<ConvLibrary> load_cudnn(const std::string& device = {});

}  // namespace taper::ops
