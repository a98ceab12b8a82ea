// NCCL as core/gpu/nccl_library.h opens it, for the ranks of one process: each call meets those of the other ranks. Like
// NCCL it takes what its stream has before the call, and writes what its stream has after it; in between it works in host
// memory. With one rank it only copies on the GPU. TAPER_FAKE_NCCL makes it fail: "slow" keeps the stream busy for long,
// "broken" reports an error after each call, "refuses" refuses rank 1's calls, "unwilling" refuses to let ranks in.

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "taper/core/gpu/nccl_library.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/collective/reduce.h"

using namespace taper;
using gpu::NcclDType;
using gpu::NcclOp;
using gpu::NcclResult;
using gpu::NcclUniqueId;

namespace {

constexpr NcclResult kSystemError{2};

bool is(const char* fault) {
  const char* const set = std::getenv("TAPER_FAKE_NCCL");
  return set != nullptr && std::string(set) == fault;
}

/// Where the ranks of one communicator meet: the last to come computes what all get.
struct Room {
  std::mutex mutex;
  std::condition_variable changed;
  int size = 0, inside = 0;
  int64_t round = 0;
  std::vector<std::vector<char>> brought;
  std::vector<char> result;
  bool is_aborted = false;
};

std::mutex rooms_mutex;
std::map<std::string, std::shared_ptr<Room>> rooms;

DType dtype_of_nccl(NcclDType dtype) {
  switch (dtype) {
    case NcclDType::kUInt8:
      return kUInt8;
    case NcclDType::kInt32:
      return kInt32;
    case NcclDType::kInt64:
      return kInt64;
    case NcclDType::kFloat16:
      return kFloat16;
    case NcclDType::kFloat32:
      return kFloat32;
    case NcclDType::kFloat64:
      return kFloat64;
    case NcclDType::kBFloat16:
      return kBFloat16;
  }
  return kUInt8;
}

/// Half types add in f32, as NCCL's newer algorithms do.
std::vector<char> reduce(const std::vector<std::vector<char>>& all, DType dtype, NcclOp op) {
  const ReduceOp own = op == NcclOp::kMax ? ReduceOp::kMax : ReduceOp::kSum;
  std::vector<char> result = all[0];
  const auto count = int64_t(result.size() / size_of(dtype));
  const int divisor = op == NcclOp::kAvg ? int(all.size()) : 1;
  if (is_half(dtype)) {
    std::vector<float> sum(static_cast<size_t>(count));
    detail::reduce_half_into(ReduceOp::kSum, dtype, sum.data(), all[0].data(), count);
    for (size_t i = 1; i < all.size(); ++i)
      detail::reduce_half_into(own, dtype, sum.data(), all[i].data(), count);
    detail::divide(kFloat32, sum.data(), count, divisor);
    detail::narrow(dtype, sum.data(), result.data(), count);
    return result;
  }
  for (size_t i = 1; i < all.size(); ++i)
    detail::reduce_into(own, dtype, result.data(), all[i].data(), count);
  if (divisor > 1) detail::divide(dtype, result.data(), count, divisor);
  return result;
}

}  // namespace

struct ncclComm {
  std::shared_ptr<Room> room;
  int rank = 0;
  bool is_broken = false;
};

namespace {

void keep_busy(void* memory, gpu::Stream stream) {
  constexpr int kLong = 100'000;
  for (int i = 0; i < kLong; ++i) gpu::copy_async(memory, memory, 1, gpu::CopyKind::kDeviceToDevice, stream);
}

/// Brings `from`, waits for all, and copies what `work` makes of it, from `offset` on, to `to`.
template <class Work>
NcclResult meet(ncclComm* comm, const void* from, size_t bytes, void* to, size_t offset, size_t result_bytes,
                Work work) {
  const gpu::Stream stream = gpu::current_stream();
  if (is("refuses")) {
    if (comm->rank == 1) return kSystemError;
    keep_busy(to, stream);  // until rank 1 comes, which it never does
    return NcclResult::kSuccess;
  }
  if (comm->room->size == 1) {  // nobody to meet: a copy, which a graph can capture
    if (from != to) gpu::copy_async(to, from, result_bytes, gpu::CopyKind::kDeviceToDevice, stream);
    return NcclResult::kSuccess;
  }
  std::vector<char> own(bytes);
  gpu::copy_async(own.data(), from, bytes, gpu::CopyKind::kDeviceToHost, stream);
  stream.synchronize();
  Room& room = *comm->room;
  std::vector<char> result;
  {
    std::unique_lock lock(room.mutex);
    room.brought[size_t(comm->rank)] = own;
    const int64_t round = room.round;
    if (++room.inside == room.size) {
      room.result = work(room.brought);
      room.inside = 0;
      ++room.round;
      room.changed.notify_all();
    } else {
      room.changed.wait(lock, [&] { return room.round != round || room.is_aborted; });
      if (room.is_aborted) return kSystemError;
    }
    result.assign(room.result.begin() + int64_t(offset),
                  room.result.begin() + int64_t(offset + result_bytes));
  }
  gpu::copy_async(to, result.data(), result_bytes, gpu::CopyKind::kHostToDevice, stream);
  comm->is_broken = is("broken");
  if (comm->is_broken || is("slow")) keep_busy(to, stream);
  return NcclResult::kSuccess;
}

}  // namespace

extern "C" {

NcclResult ncclGetVersion(int* version) {
  *version = 22809;
  return NcclResult::kSuccess;
}

const char* ncclGetErrorString(NcclResult result) {
  return result == kSystemError ? "unhandled system error" : "no error";
}

NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  static int last = 0;
  const std::lock_guard lock(rooms_mutex);
  std::memset(id->internal, 0x5a, sizeof id->internal);  // as in NCCL, any bytes, zeros among them
  std::memset(id->internal, 0, 2 * sizeof last);
  ++last;
  std::memcpy(id->internal, &last, sizeof last);
  return NcclResult::kSuccess;
}

NcclResult ncclCommInitRank(ncclComm** comm, int size, NcclUniqueId id, int rank) {
  if (is("unwilling")) return kSystemError;
  std::shared_ptr<Room> room;
  {
    const std::lock_guard lock(rooms_mutex);
    auto& found = rooms[std::string(id.internal, sizeof id.internal)];
    if (!found) {
      found = std::make_shared<Room>();
      found->size = size;
      found->brought.resize(size_t(size));
    }
    room = found;
  }
  *comm = new ncclComm{room, rank};
  return NcclResult::kSuccess;
}

NcclResult ncclCommDestroy(ncclComm* comm) {
  delete comm;
  return NcclResult::kSuccess;
}

NcclResult ncclCommAbort(ncclComm* comm) {
  {
    const std::lock_guard lock(comm->room->mutex);
    comm->room->is_aborted = true;
    comm->room->changed.notify_all();
  }
  delete comm;
  return NcclResult::kSuccess;
}

NcclResult ncclCommGetAsyncError(ncclComm* comm, NcclResult* error) {
  *error = comm->is_broken ? kSystemError : NcclResult::kSuccess;
  return NcclResult::kSuccess;
}

NcclResult ncclAllReduce(const void* from, void* to, size_t count, NcclDType nccl_dtype, NcclOp op,
                         ncclComm* comm, CUstream_st* /*stream*/) {
  const DType dtype = dtype_of_nccl(nccl_dtype);
  const size_t bytes = count * size_of(dtype);
  return meet(comm, from, bytes, to, 0, bytes, [&](const auto& all) { return reduce(all, dtype, op); });
}

NcclResult ncclBroadcast(const void* from, void* to, size_t count, NcclDType dtype, int root, ncclComm* comm,
                         CUstream_st* /*stream*/) {
  const size_t bytes = count * size_of(dtype_of_nccl(dtype));
  return meet(comm, from, bytes, to, 0, bytes, [&](const auto& all) { return all[size_t(root)]; });
}

NcclResult ncclAllGather(const void* from, void* to, size_t count, NcclDType dtype, ncclComm* comm,
                         CUstream_st* /*stream*/) {
  const size_t bytes = count * size_of(dtype_of_nccl(dtype));
  return meet(comm, from, bytes, to, 0, bytes * size_t(comm->room->size), [&](const auto& all) {
    std::vector<char> joined;
    for (const auto& one : all) joined.insert(joined.end(), one.begin(), one.end());
    return joined;
  });
}

NcclResult ncclReduceScatter(const void* from, void* to, size_t count, NcclDType nccl_dtype, NcclOp op,
                             ncclComm* comm, CUstream_st* /*stream*/) {
  const DType dtype = dtype_of_nccl(nccl_dtype);
  const size_t bytes = count * size_of(dtype);
  return meet(comm, from, bytes * size_t(comm->room->size), to, size_t(comm->rank) * bytes, bytes,
              [&](const auto& all) { return reduce(all, dtype, op); });
}

}  // extern "C"
