#pragma once

#include <cstddef>
#include <string>

namespace taper::gpu::detail {

/// Returns text like "512 bytes", "1.50 KiB", "20.00 MiB" or "7.25 GiB".
std::string readable_bytes(size_t size_bytes);

}  // namespace taper::gpu::detail
