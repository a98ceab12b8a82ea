#pragma once
// Matrix products of a vendor's library, seen through one small interface: cublaslt/gemm.cpp implements it
// for cuBLASLt, tests for a library of their own. Which algorithm is taken is the algorithm cache's business
// (gemm_call.h).

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "taper/ops/vendor/blas_gemm.h"

namespace taper::ops {

/// cuBLASLt computes gelu by the form with tanh, as Taper does, but does not say how well it computes tanh.
/// The hardware's instruction is off by up to 2^-11 (PTX ISA: tanh.approx.f32), and gelu(x) by as much of x
/// / 2.
inline constexpr double kLibraryGeluEpsilon = 0x1p-11;

/// One of a library's ways to compute a product.
struct GemmAlgorithm {
  std::string name;  ///< everything that tells it from the library's others
  size_t workspace_bytes = 0;
  bool deterministic = true;         ///< equal inputs give equal bits
  std::shared_ptr<const void> plan;  ///< the library's own description
};

/// Its functions may be called from several threads at once.
class GemmLibrary {
 public:
  virtual ~GemmLibrary() = default;

  /// With its version: "cublaslt 13.1.0".
  virtual std::string name() const = 0;
  /// Ways to compute `gemm` on the current device whose workspace fits, the most promising first; empty if
  /// the library supports none. Only addresses that are null or not are looked at: all are multiples of
  /// `alignment`. Throws Error if the library fails.
  virtual std::vector<GemmAlgorithm> algorithms(const BlasGemm& gemm, int64_t alignment,
                                                size_t workspace_limit_bytes) = 0;
  /// Enqueues the product on the current stream of the current device. Throws AlgorithmFailed if the library
  /// refuses.
  virtual void run(const BlasGemm& gemm, const GemmAlgorithm& algorithm, void* workspace) = 0;
};

/// Makes a library, or throws Error saying in one line why there is none.
using GemmLibraryLoader = std::function<std::unique_ptr<GemmLibrary>()>;

/// The library of this build, loaded at the first call; null if the build has none, or if it could not be
/// loaded, which is reported once by warn(). Thread-safe.
std::shared_ptr<GemmLibrary> gemm_library();

/// Takes another library from the next call of gemm_library() on, or none (an empty loader), and returns the
/// former loader. Choices that the algorithm cache has made stay.
GemmLibraryLoader set_gemm_library_loader(GemmLibraryLoader loader);

/// Loads cuBLASLt. In builds with TAPER_HAVE_CUBLASLT only.
std::unique_ptr<GemmLibrary> load_cublaslt();

}  // namespace taper::ops
