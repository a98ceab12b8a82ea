// The ABI of core/gpu/nccl_library.h is that of NVIDIA's header.

#include <nccl.h>

#include "taper/core/gpu/nccl_library.h"

namespace taper::gpu {

static_assert(sizeof(NcclUniqueId) == sizeof(ncclUniqueId));
static_assert(std::is_same_v<NcclComm, ncclComm_t>);
static_assert(int(NcclResult::kSuccess) == ncclSuccess && int(NcclResult::kInProgress) == ncclInProgress);
static_assert(int(NcclDType::kUInt8) == ncclUint8 && int(NcclDType::kInt32) == ncclInt32 &&
              int(NcclDType::kInt64) == ncclInt64 && int(NcclDType::kFloat16) == ncclFloat16 &&
              int(NcclDType::kFloat32) == ncclFloat32 && int(NcclDType::kFloat64) == ncclFloat64 &&
              int(NcclDType::kBFloat16) == ncclBfloat16);
static_assert(int(NcclOp::kSum) == ncclSum && int(NcclOp::kMax) == ncclMax && int(NcclOp::kAvg) == ncclAvg);

/// Whether a function of the library takes what the header says, but for enumerations and the unique id, which have
/// other names here.
template <class... To>
struct Arguments {
  template <class... From>
  static constexpr bool fit(ncclResult_t (*)(From...)) {
    return ((sizeof(To) == sizeof(From) && std::is_pointer_v<To> == std::is_pointer_v<From>)&&...);
  }
};
template <class... To, class Function>
constexpr bool fits(NcclResult (*NcclLibrary::*)(To...), Function function) {
  return Arguments<To...>::fit(function);
}
static_assert(fits(&NcclLibrary::get_version, ncclGetVersion));
static_assert(fits(&NcclLibrary::get_unique_id, ncclGetUniqueId));
static_assert(fits(&NcclLibrary::comm_init_rank, ncclCommInitRank));
static_assert(fits(&NcclLibrary::comm_destroy, ncclCommDestroy));
static_assert(fits(&NcclLibrary::comm_abort, ncclCommAbort));
static_assert(fits(&NcclLibrary::comm_get_async_error, ncclCommGetAsyncError));
static_assert(fits(&NcclLibrary::all_reduce, ncclAllReduce));
static_assert(fits(&NcclLibrary::broadcast, ncclBroadcast));
static_assert(fits(&NcclLibrary::all_gather, ncclAllGather));
static_assert(fits(&NcclLibrary::reduce_scatter, ncclReduceScatter));

}  // namespace taper::gpu
