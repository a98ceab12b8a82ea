#pragma once
// The point where another way to compute convolutions can take over from the layers. nn/serve uses it; layers
// know nothing else of serving. PyTorch's counterpart: torch.overrides.TorchFunctionMode, an object of the
// thread that may handle a call in place of the function.

#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"

namespace taper {

class ConvRunner {
 public:
  virtual ~ConvRunner() = default;

  /// Returns norm(conv(x), fusion), without the norm if it is null. Returns an undefined tensor to leave the
  /// call to the layers. norm: null or in evaluation mode.
  virtual Tensor run(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
                     const BatchNormFusion& fusion) const = 0;

  /// Returns what this thread's runner returns, or an undefined tensor if the thread has no runner.
  static Tensor run_current(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
                            const BatchNormFusion& fusion = {});

  /// Makes `runner` this thread's, in place of any other, until scope end.
  class Scope {
   public:
    explicit Scope(const ConvRunner& runner);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    const ConvRunner* previous_;
  };
};

}  // namespace taper
