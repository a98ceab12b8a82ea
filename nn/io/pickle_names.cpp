#include "taper/nn/io/pickle_names.h"

#include <algorithm>
#include <array>

namespace taper::detail {
namespace {

constexpr std::array<PickledType, 20> kTypes = {{
    {"float32", "FloatStorage", 4, kFloat32},
    {"float64", "DoubleStorage", 8, kFloat64},
    {"float16", "HalfStorage", 2, kFloat16},
    {"bfloat16", "BFloat16Storage", 2, kBFloat16},
    {"int64", "LongStorage", 8, kInt64},
    {"int32", "IntStorage", 4, kInt32},
    {"uint8", "ByteStorage", 1, kUInt8},
    {"bool", "BoolStorage", 1, kBool},
    {"int16", "ShortStorage", 2, {}},
    {"int8", "CharStorage", 1, {}},
    {"complex64", "ComplexFloatStorage", 8, {}},
    {"complex128", "ComplexDoubleStorage", 16, {}},
    {"complex32", "", 4, {}},
    {"uint16", "", 2, {}},
    {"uint32", "", 4, {}},
    {"uint64", "", 8, {}},
    {"float8_e4m3fn", "", 1, {}},
    {"float8_e5m2", "", 1, {}},
    {"float8_e4m3fnuz", "", 1, {}},
    {"float8_e5m2fnuz", "", 1, {}},
}};

struct Name {
  std::string_view module, name;
  PickleRole role;
};
constexpr std::array<Name, 11> kNames = {{
    {"collections", "OrderedDict", PickleRole::kDict},
    {"torch._utils", "_rebuild_tensor", PickleRole::kTensor},
    {"torch._utils", "_rebuild_tensor_v2", PickleRole::kTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", PickleRole::kTensorV3},
    {"torch._utils", "_rebuild_parameter", PickleRole::kParameter},
    {"torch._utils", "_rebuild_parameter_with_state", PickleRole::kParameter},
    {"torch.nn.parameter", "Parameter", PickleRole::kParameter},
    {"torch", "Size", PickleRole::kSize},
    {"torch", "UntypedStorage", PickleRole::kUntyped},
    {"torch.storage", "UntypedStorage", PickleRole::kUntyped},
    {"torch.storage", "_UntypedStorage", PickleRole::kUntyped},
}};

/// A name as a number: its role, and its row of kTypes or kNames.
constexpr uint64_t kRoleShift = 8;
constexpr uint64_t number_of(PickleRole role, size_t row) {
  return uint64_t(role) << kRoleShift | row;
}

}  // namespace

const PickledType& pickled_type(DType dtype) {
  return *std::ranges::find_if(kTypes, [&](const PickledType& type) { return type.dtype == dtype; });
}

std::optional<uint64_t> find_pickle_name(std::string_view module, std::string_view name) {
  for (size_t row = 0; row < kNames.size(); ++row)
    if (kNames[row].module == module && kNames[row].name == name) return number_of(kNames[row].role, row);
  // PyTorch before 1.0 named the storages of tensors on a GPU after it.
  if (module != "torch" && module != "torch.cuda") return {};
  for (size_t row = 0; row < kTypes.size(); ++row) {
    if (!kTypes[row].storage_class.empty() && kTypes[row].storage_class == name)
      return number_of(PickleRole::kStorage, row);
    if (module == "torch" && kTypes[row].name == name) return number_of(PickleRole::kDType, row);
  }
  return {};
}

PickleRole role_of(uint64_t name) {
  return PickleRole(name >> kRoleShift);
}

const PickledType& type_of(uint64_t name) {
  return kTypes[name & ((1 << kRoleShift) - 1)];
}

}  // namespace taper::detail
