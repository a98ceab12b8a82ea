#pragma once
// The numbers that control updates, computed where updates read them: loss scale, counts, learning rates. On
// a GPU each function is one launch of one thread, and the host never waits.
//
// A flag is f32 of one element, such as found_inf of unscale_: 0, or another number if an update was skipped.
// All functions throw Error for a tensor of another dtype, device or size than they say.

#include <vector>

#include "taper/core/tensor.h"

namespace taper::ops {

/// If found_inf is not 0, multiplies scale by backoff_factor, but to no less than 2^-126, and sets growth_tracker
/// to 0. Else adds 1 to
/// growth_tracker; when that reaches growth_interval, sets it to 0 and multiplies scale by growth_factor,
/// unless the product is infinite. scale: f32, growth_tracker: i32, one element each, on the flag's device.
/// (torch._amp_update_scale_)
void update_scale_(const Tensor& scale, const Tensor& growth_tracker, const Tensor& found_inf,
                   double growth_factor, double backoff_factor, int64_t growth_interval);

/// Adds 1 to `count`, f64 of one element, unless `skip` is a flag that is not 0.
void count_update_(const Tensor& count, const Tensor& skip = {});

/// The most flags that choose_ takes.
inline constexpr size_t kMostFlags = 2;

/// Sets `number`, f64 of one element, to values[how many of the flags are 0]. Throws Error unless there is
/// one value more than flags.
void choose_(const Tensor& number, const std::vector<double>& values, const std::vector<Tensor>& flags);

}  // namespace taper::ops
