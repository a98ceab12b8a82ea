#pragma once  // spine 14 (docs/0-the-spine.md)
// How a public function of ops/ names itself, in its first line:
//
//   Tensor softmax(const Tensor& x, int64_t axis) {
//     const OpCall call("softmax", x);
//
// From there to the return, memory is requested in that name, and a Profiler sees a bar with the inputs'
// dtypes and shapes. If the tape has just announced this call, it is not announced twice.

#include <span>
#include <string>
#include <string_view>

#include "taper/core/base/op_scope.h"
#include "taper/core/tensor.h"

namespace taper::ops {

/// Returns "f32 [8, 3, 32, 32], f32 [64, 3, 7, 7], none". For more than four tensors, returns how many they
/// are and how many elements they have.
std::string types_and_shapes(std::span<const Tensor* const> tensors);
std::string types_and_shapes(std::span<const Tensor> tensors);

class OpCall {
 public:
  /// `name` as for OpScope; tensors may be undefined.
  template <class... Tensors>
  explicit OpCall(std::string_view name, const Tensors&... inputs) : scope_(name) {
    if (scope_.is_recorded()) [[unlikely]]
      describe(inputs...);
  }

 private:
  void describe() {}
  void describe(const std::vector<Tensor>& inputs) { scope_.describe(types_and_shapes(inputs)); }
  template <class... Rest>
  void describe(const Tensor& first, const Rest&... rest) {
    const Tensor* const inputs[] = {&first, &rest...};
    scope_.describe(types_and_shapes(inputs));
  }

  OpScope scope_;
};

}  // namespace taper::ops
