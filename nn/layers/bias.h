#pragma once

namespace taper {

/// Whether a linear or convolution layer adds a trained constant to each output channel. Layers before a
/// batch norm leave it out: the norm would subtract it again.
enum class Bias { kNoBias, kBias };
using enum Bias;

}  // namespace taper
