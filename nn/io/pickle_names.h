#pragma once
// The only names that a pickle may use, and what each stands for: a few functions of PyTorch, its storages and its
// dtypes. Private to nn/io. PyTorch's counterpart: _get_allowed_globals() in torch/_weights_only_unpickler.py.

#include <cstdint>
#include <optional>
#include <string_view>

#include "taper/core/base/dtype.h"

namespace taper::detail {

/// What PyTorch calls a dtype, with its storage class, and what Taper calls it.
struct PickledType {
  std::string_view name;           ///< "float32"
  std::string_view storage_class;  ///< "FloatStorage"; "" if storages of this dtype are saved as bytes
  uint8_t size_bytes;
  std::optional<DType> dtype;  ///< nothing if Taper lacks it
};
/// Returns the row of a dtype that Taper has.
const PickledType& pickled_type(DType dtype);

/// What a name in a pickle stands for. All that a pickle can do with it is what the machine does for it.
enum class PickleRole : uint8_t {
  kDict,       ///< OrderedDict(), and OrderedDict of a list of pairs, as Python 2 wrote it
  kTensor,     ///< _rebuild_tensor(storage, offset, size, stride)
  kTensorV2,   ///< the same, requires_grad, backward_hooks
  kTensorV3,   ///< the same, dtype
  kParameter,  ///< Parameter(tensor, ...): the tensor
  kSize,       ///< Size(tuple): the tuple
  kStorage,    ///< only in a persistent id; type_of() says which
  kUntyped,    ///< as kStorage, of bytes
  kDType,      ///< type_of() says which
};

/// Returns what the name stands for, as a number; nothing if no pickle may use it.
std::optional<uint64_t> find_pickle_name(std::string_view module, std::string_view name);
PickleRole role_of(uint64_t name);
/// Returns the type of a storage or a dtype.
const PickledType& type_of(uint64_t name);

}  // namespace taper::detail
