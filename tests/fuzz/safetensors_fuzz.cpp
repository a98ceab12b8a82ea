// load_safetensors(), and save_safetensors() with what it returned.

#include <cstring>

#include "fuzz.h"
#include "taper/nn/io/safetensors.h"

using namespace taper;

namespace {

bool are_same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.size_bytes()) == 0);
}

bool are_same(const Safetensors& a, const Safetensors& b) {
  return a.metadata == b.metadata && std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(),
                                                b.tensors.end(), [](const auto& x, const auto& y) {
                                                  return x.first == y.first && are_same(x.second, y.second);
                                                });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("input.safetensors"), output("output.safetensors");
  input.write({data, size});
  Safetensors loaded;
  if (!fuzz::accepts(input.path(), [&] { loaded = load_safetensors(input.path()); })) return 0;
  save_safetensors(output.path(), loaded.tensors, loaded.metadata);
  fuzz::require(are_same(loaded, load_safetensors(output.path())), "what was loaded can be saved and loaded");
  return 0;
}
