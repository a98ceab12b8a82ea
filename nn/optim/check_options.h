#pragma once
// What Adam, AdamW and LAMB demand of their options.

#include <string_view>

#include "taper/core/base/error.h"

namespace taper::detail {

/// Throws Error, naming `optimizer`, for a negative lr, eps or weight_decay and for a beta outside [0, 1).
template <class Options>
void check_adam_options(std::string_view optimizer, const Options& options) {
  TAPER_CHECK(options.lr >= 0 && options.eps >= 0 && options.weight_decay >= 0,
              "{}: lr ({}), eps ({}) and weight_decay ({}) must not be negative", optimizer, options.lr,
              options.eps, options.weight_decay);
  for (const double beta : {options.beta1, options.beta2})
    TAPER_CHECK(beta >= 0 && beta < 1, "{}: beta1 and beta2 must be from 0 to below 1, got {}", optimizer,
                beta);
}

}  // namespace taper::detail
