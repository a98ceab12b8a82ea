#include "taper/nn/report/memory_trace.h"

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"

namespace taper {
namespace {

constexpr size_t kLongestQuote = 200;  // bytes of a damaged line in an error

/// The blocks of a replay. Blocks that remain are freed at the end, however the replay ends.
class LiveBlocks {
 public:
  explicit LiveBlocks(gpu::CachingAllocator& allocator) : allocator_(allocator) {}
  ~LiveBlocks() {
    for (const auto& [address, ptr] : blocks_) allocator_.deallocate(ptr, 0);
  }
  LiveBlocks(const LiveBlocks&) = delete;
  LiveBlocks& operator=(const LiveBlocks&) = delete;

  void allocate(const gpu::TraceEvent& event, gpu::Stream stream) {
    free(event);  // a damaged trace may use an address twice
    const OpScope scope(event.op);
    blocks_[event.address] = allocator_.allocate(event.size_bytes, stream);
  }
  void free(const gpu::TraceEvent& event) {
    const auto found = blocks_.find(event.address);
    if (found == blocks_.end()) return;
    allocator_.deallocate(found->second, 0);
    blocks_.erase(found);
  }

 private:
  gpu::CachingAllocator& allocator_;
  std::unordered_map<uintptr_t, void*> blocks_;
};

/// Returns the member. Throws unless it is a whole number below 2^64: the library would convert others.
uint64_t whole_number(const nlohmann::json& line, const char* member) {
  const nlohmann::json& value = line.at(member);
  if (!value.is_number_unsigned())
    throw std::invalid_argument(fmt::format("\"{}\" is not a whole number from 0 to 2^64 - 1", member));
  return value.get<uint64_t>();
}

/// Returns the stream. Throws unless it is a whole number that fits an int.
int stream_number(const nlohmann::json& line) {
  const uint64_t number = line.contains("stream") ? whole_number(line, "stream") : 0;
  if (number > uint64_t(std::numeric_limits<int>::max()))
    throw std::invalid_argument("\"stream\" is larger than 2^31 - 1");
  return int(number);
}

gpu::TraceEvent parse(const nlohmann::json& line) {
  const auto action = line.at("action").get<std::string>();
  gpu::TraceEvent event;
  event.address = whole_number(line, "addr");
  if (action == "free_requested") {
    event.action = gpu::TraceAction::kFreeRequested;
    return event;
  }
  if (action != "alloc") throw std::invalid_argument("the action is neither alloc nor free_requested");
  event.size_bytes = whole_number(line, "size");
  event.stream = stream_number(line);
  event.op = intern(line.value("op", std::string()));
  return event;
}

}  // namespace

void write_memory_trace(const std::string& path, std::span<const gpu::TraceEvent> events) {
  AtomicFile file(path);
  for (const gpu::TraceEvent& event : events) {
    nlohmann::ordered_json line = {{"action", name_of(event.action)}, {"addr", event.address}};
    if (event.action == gpu::TraceAction::kAlloc) {
      line["size"] = event.size_bytes;
      line["stream"] = event.stream;
      line["op"] = event.op;
    } else if (event.action != gpu::TraceAction::kFreeRequested) {
      continue;
    }
    file.write(line.dump() + '\n');
  }
  file.commit();
}

std::vector<gpu::TraceEvent> read_memory_trace(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail<FileError>("{}: cannot be opened", path);
  std::vector<gpu::TraceEvent> events;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    try {
      events.push_back(parse(nlohmann::json::parse(line)));
    } catch (const std::exception& error) {
      fail<FileError>("{}: line {} is not an allocation or a free: {}", path, number,
                      shortened(error.what(), kLongestQuote));
    }
  }
  return events;
}

void replay_memory_trace(std::span<const gpu::TraceEvent> events, gpu::CachingAllocator& allocator,
                         const std::function<void(size_t index)>& after_event) {
  LiveBlocks blocks(allocator);
  std::map<int, gpu::Stream> streams = {{0, gpu::default_stream(allocator.device())}};
  auto stream_of = [&](const gpu::TraceEvent& event) {
    const auto found = streams.find(event.stream);
    if (found != streams.end()) return found->second;
    return streams.emplace(event.stream, gpu::stream_from_pool(allocator.device())).first->second;
  };
  for (size_t i = 0; i < events.size(); ++i) {
    if (events[i].action == gpu::TraceAction::kAlloc) blocks.allocate(events[i], stream_of(events[i]));
    if (events[i].action == gpu::TraceAction::kFreeRequested) blocks.free(events[i]);
    if (after_event) after_event(i);
  }
}

}  // namespace taper
