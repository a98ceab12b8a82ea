#pragma once
// GradScaler: keeps small gradients of a half-precision model above the smallest number of f16. It multiplies
// the loss, and so all gradients, by a large scale, and divides the gradients again before the update. If
// they overflowed, it skips the update and lowers the scale; after many updates without overflow it raises
// it. The scale lives on the losses' device, and the host waits for nothing. PyTorch's counterpart:
// torch/amp/grad_scaler.py.
//
//   GradScaler scaler;
//   for (...) {
//     optimizer.zero_grad();
//     scaler.scale(loss_of(batch)).backward();  // of several batches, to accumulate
//     scaler.unscale(optimizer);                // needed only if something reads the gradients:
//     clip_grad_norm(optimizer.parameters(), 1);
//     scaler.step(optimizer);
//     ema.update(scaler.found_inf(optimizer));
//     schedule.step(scaler.found_inf(optimizer));
//     scaler.update();
//   }

#include <map>

#include "taper/nn/optim/optimizer.h"

namespace taper {

/// Named like the arguments of torch.amp.GradScaler.
struct GradScalerOptions {
  double init_scale = 65536;
  double growth_factor = 2;        ///< multiplies the scale after growth_interval updates without overflow
  double backoff_factor = 0.5;     ///< multiplies the scale after an overflow
  int64_t growth_interval = 2000;  ///< updates
  bool enabled = true;             ///< false: every call does what it would do without a scaler
};

class GradScaler {
 public:
  /// Throws Error unless init_scale >= 2^-126, growth_factor > 1, 0 < backoff_factor < 1 and
  /// growth_interval >= 1.
  explicit GradScaler(const GradScalerOptions& options = {});
  GradScaler(const GradScaler&) = delete;  // copies would share the scale
  GradScaler& operator=(const GradScaler&) = delete;

  /// Returns loss * scale, which backward() is to be called on. The first loss decides the scale's device,
  /// where all parameters must be.
  Tensor scale(const Tensor& loss);
  /// Divides the gradients of `optimizer` by the scale, and notes whether one of them is infinite or NaN. Call this
  /// after the last backward() of an update: gradients of a later one would stay scaled. Throws Error if it is
  /// called twice in an update or after step(), if no parameter has a gradient, or if one has an f16 gradient, in
  /// which small numbers would be lost again. All ranks call it together if the optimiser's parameters are sharded: an
  /// infinity in one rank's shards counts for all.
  void unscale(Optimizer& optimizer);
  /// Calls unscale(), unless it was called, and then the optimiser's step(), which is skipped if a gradient is
  /// infinite or NaN. Throws Error for a second call before update().
  void step(Optimizer& optimizer);
  /// Adapts the scale after the steps of all optimisers: lowers it if one of them had an infinite or NaN
  /// gradient. Throws Error if no gradient was looked at since the last update().
  void update();

  /// Forgets what unscale() and step() did since the last update(): they are to be done again, after an error.
  void abandon_update() { progress_.clear(); }

  /// Returns the scale; 1 if not enabled. On a GPU the host waits for it.
  double get_scale() const;
  /// Returns the scale, f32 of one element on the losses' device, which update() writes into. Undefined
  /// before the first loss, and if not enabled.
  const Tensor& scale_on_device() const { return scale_; }
  /// Returns a flag for Ema::update(), LrScheduler::step() and the like, f32 of one element on the parameters'
  /// device: not 0 if the optimiser's step is skipped. Undefined if not enabled. Throws Error unless unscale()
  /// or step() was called since the last update().
  Tensor found_inf(const Optimizer& optimizer) const;
  bool is_enabled() const { return options_.enabled; }

  /// Returns the numbers "scale", "growth_factor", "backoff_factor", "growth_interval" and "growth_tracker":
  /// updates since the last overflow or growth. Empty if not enabled. On a GPU the host waits.
  SavedState state_dict() const;
  /// Restores a saved state, between an update() and the next scale(). Throws Error, with nothing changed, for
  /// a number that is missing or out of range, and between unscale() and update(). Does nothing if not enabled.
  void load_state_dict(const SavedState& state);

 private:
  /// What was done for an optimiser since the last update().
  struct Progress {
    Tensor found_inf;
    bool stepped = false;
  };

  GradScalerOptions options_;
  int64_t first_growth_tracker_ = 0;  ///< what growth_tracker_ is made with, as scale_ with init_scale
  Tensor scale_, growth_tracker_;     ///< f32 and i32; undefined before the first loss
  std::map<const Optimizer*, Progress> progress_;
};

}  // namespace taper
