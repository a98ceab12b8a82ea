#pragma once

namespace taper {

/// Whether a linear or convolution layer adds a trained constant to each output channel. A layer before a
/// batch norm needs none, because the norm would subtract it again.
enum class Bias { kNoBias, kBias };
using enum Bias;

}  // namespace taper
