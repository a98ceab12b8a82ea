// What an OutOfMemoryError says: what was asked, who holds what, and the way out.

#include "taper/core/gpu/memory/caching_allocator_errors.h"

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/memory/caching_allocator.h"

namespace taper::gpu {

using detail::readable_bytes;

std::string detail::readable_bytes(size_t size_bytes) {
  if (size_bytes < 1024) return fmt::format("{} bytes", size_bytes);
  double value = double(size_bytes) / 1024;
  const char* unit = "KiB";
  for (const char* larger : {"MiB", "GiB", "TiB", "PiB", "EiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return fmt::format("{:.2f} {}", value, unit);
}

void CachingAllocator::out_of_memory(const Request& request) {
  ++stats_.num_ooms;
  if (trace_.enabled())
    trace_event(TraceAction::kOom, nullptr, request.requested_bytes, request.stream, OpScope::current());
  const MemoryInfo device = memory_info(device_);
  const auto reserved = size_t(stats_.all.reserved_bytes.current);
  const auto allocated = size_t(stats_.all.allocated_bytes.current);
  const std::string op = OpScope::current().empty() ? "" : fmt::format(" for {}", OpScope::current());
  const std::string limit = limit_bytes_ == SIZE_MAX ? ""
                                                     : fmt::format(" of at most {} (set_memory_fraction)",
                                                                   readable_bytes(limit_bytes_));
  fail<OutOfMemoryError>(
      "cuda:{}: cannot allocate {}{}: the device has {}, {} of it free; reserved here are {}{}: "
      "{} allocated{} and {} cached, the largest free block {}; {}",
      device_, readable_bytes(request.requested_bytes), op, readable_bytes(device.total_bytes),
      readable_bytes(device.free_bytes), readable_bytes(reserved), limit, readable_bytes(allocated),
      largest_holders(), readable_bytes(reserved - allocated),
      readable_bytes(std::max(open_pool_.small.largest_free_bytes(), open_pool_.large.largest_free_bytes())),
      way_out(request, device.total_bytes));
}

// Returns the three ops whose live blocks take the most memory: " (conv2d 1.50 GiB, linear 20.00 MiB)".
std::string CachingAllocator::largest_holders() const {
  std::map<std::string_view, size_t> bytes_by_op;
  for (const auto& [begin, block] : blocks_)
    if (block.state == detail::BlockState::kAllocated && !block.op.empty())
      bytes_by_op[block.op] += block.size_bytes;
  std::vector<std::pair<std::string_view, size_t>> holders(bytes_by_op.begin(), bytes_by_op.end());
  std::sort(holders.begin(), holders.end(), [](auto& a, auto& b) { return a.second > b.second; });
  if (holders.size() > 3) holders.resize(3);
  std::string text;
  for (const auto& [op, bytes] : holders)
    text += fmt::format("{}{} {}", text.empty() ? " (" : ", ", op, readable_bytes(bytes));
  return text.empty() ? "" : text + ")";
}

std::string CachingAllocator::way_out(const Request& request, size_t total_bytes) const {
  const auto in_pieces = size_t(stats_.all.inactive_split_bytes.current);
  if (request.size_bytes > total_bytes) return "that is more than the device has: split the work";
  if (!captures_.empty())
    return "while a graph is captured nothing cached can be given back: call empty_cache() before the "
           "capture";
  if (in_pieces >= request.size_bytes && max_split_bytes_ == detail::kNoSplitLimit)
    return "the cached memory lies in pieces between live blocks: try set_max_split_size(), or a smaller "
           "batch";
  const auto reserved = size_t(stats_.all.reserved_bytes.current);
  if (limit_bytes_ != SIZE_MAX && request.size_bytes <= total_bytes - std::min(total_bytes, reserved))
    return "raise set_memory_fraction(), or use a smaller batch or image size";
  return "use a smaller batch or image size, accumulate gradients over several, or checkpoint activations";
}

}  // namespace taper::gpu
