#pragma once
// What the updates of optimizer.h and layerwise.h do alike before and after their kernels.

#include <string_view>
#include <vector>

#include "taper/ops/optimizer/flat_list.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper::ops {

/// Throws Error unless `number` is undefined or one element of `dtype` on `device`.
void check_number(std::string_view op, std::string_view name, const Tensor& number, DType dtype,
                  Device device);
void check_controls(std::string_view op, const FlatList& params, const UpdateControls& controls);
/// Throws Error unless `copies` fit `params`; `flat` is their list.
void check_copies(std::string_view op, const std::vector<Tensor>& params, const FlatList& flat,
                  const std::vector<Tensor>& copies);

/// Whether an update on the CPU does nothing.
bool is_skipped(const UpdateControls& controls);
/// Bumps the versions of copies that were written.
void finish_write(const std::vector<Tensor>& copies);

}  // namespace taper::ops
