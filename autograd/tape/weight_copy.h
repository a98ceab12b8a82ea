#pragma once
// Parameters in low precision, without casts. Under autocast a parameter stays f32, the master copy, and
// products read a copy of it in f16 or bf16. The copy lives with the parameter and is made again only when
// the parameter was written, which its version tells. An optimiser that finds a current copy writes it in the
// same pass as the parameter (nn/optim/optimizer.cpp), so that training makes it once, in its first step.
//
//            forward                backward             step
//   f32      parameter                  ^  gradient      parameter -= lr * ...
//   bf16     copy ---> conv2d ---- > conv2d_backward     copy = round(parameter)    in one launch
//
// The gradient skips the cast as well: the copy's node takes it in f32, and a kernel that can writes it so.
//
// PyTorch's counterpart: cached_cast in ATen/autocast_mode.cpp. It casts each parameter once in each scope,
// forgets the copies at its end, and casts gradients back in a pass of their own.

#include <memory>
#include <optional>
#include <vector>

#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"

namespace taper::detail {

/// What a parameter keeps; see meta.h.
struct WeightCopy {
  Tensor copy;
  std::weak_ptr<Storage> storage;  ///< the parameter's memory, and the version of it, that was copied
  uint32_t version = 0;
  std::optional<gpu::Stream> stream;  ///< that the copy was written on
};

/// Whether autocast keeps a copy of x: a leaf that the tape knows, or knew before it was frozen.
bool is_parameter(const Tensor& x);

/// Returns the f32 parameter in `dtype`, f16 or bf16, with a history: its gradient is taken in f32.
/// Thread-safe.
Tensor weight_copy(const Tensor& parameter, DType dtype);

/// Returns the parameter's copy for one who is about to write both, undefined if there is none or it is out
/// of date.
Tensor current_weight_copy(const Tensor& parameter);
/// Says that parameter and copy were written alike, on the current stream.
void renew_weight_copy(const Tensor& parameter);

/// The copies that parameters have now, for a graph that reads and writes them at their addresses (nn/train/captured_step.h).
class KeptWeightCopies {
 public:
  explicit KeptWeightCopies(const std::vector<Tensor>& parameters);
  /// Makes these the parameters' copies again, for the current stream. Those that others have replaced, or that are out of
  /// date, are written anew.
  void restore() const;
  /// Says that the graph has written parameters and copies alike.
  void renew() const;

 private:
  struct Kept {
    Tensor parameter, copy;  ///< the copy is undefined where there was none
  };
  std::vector<Kept> all_;
};

}  // namespace taper::detail
