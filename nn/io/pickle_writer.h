#pragma once
// Writes a value as a pickle that torch.load(weights_only=True) reads. Private to nn/io.

#include <functional>
#include <string>

#include "taper/nn/io/pickle_reader.h"
#include "taper/nn/io/pickle_value.h"

namespace taper::detail {

/// Returns `value` as a pickle of protocol 2. describe: returns where a tensor's elements are; called once for
/// each tensor, in order. Throws Error naming `op` for an undefined tensor, one of a dtype that Taper lacks, a
/// text that is not UTF-8, a key that is neither text nor number, and for values that nest too deep.
std::string write_pickle(const PickleValue& value, std::string_view op,
                         const std::function<PickledTensor(const Tensor&)>& describe);

}  // namespace taper::detail
