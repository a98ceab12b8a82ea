// load_pytorch(), and save_pytorch() with what it returned.

#include <functional>

#include "../support/pickle_values.h"
#include "fuzz.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/io/state_dict.h"

using namespace taper;

namespace {

/// Returns whether Taper can write the value, and whether the fuzzer's stand-in for copies can.
bool can_be_saved(const PickleValue& value) {
  if (value.is<ForeignTensor>()) return false;
  if (value.is<Tensor>()) return value.get<Tensor>().is_contiguous();
  if (value.is<PickleValue::List>() || value.is<PickleValue::Tuple>())
    return std::ranges::all_of(value.items(), can_be_saved);
  if (value.is<PickleValue::Dict>())
    return std::ranges::all_of(value.get<PickleValue::Dict>(),
                               [](const PickleEntry& entry) { return can_be_saved(entry.value); });
  return !value.is<double>() || value.get<double>() == value.get<double>();  // NaN equals nothing
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("input.pth"), output("output.pth");
  input.write({data, size});
  PickleValue loaded;
  if (!fuzz::accepts(input.path(), [&] { loaded = load_pytorch(input.path()); })) return 0;
  try {
    state_dict_of(loaded);
  } catch (const Error&) {  // there need not be one
  }
  if (!can_be_saved(loaded)) return 0;
  save_pytorch(output.path(), loaded);
  fuzz::require(are_equal(loaded, load_pytorch(output.path())), "what was loaded can be saved and loaded");
  return 0;
}
