#include "taper/core/gpu/nccl_library.h"

#include <fmt/format.h>

#include "taper/core/base/error.h"
#include "taper/core/gpu/library_versions.h"
#include "taper/core/gpu/shared_library.h"

namespace taper::gpu {

static std::vector<std::string> names_of_nccl() {
#if TAPER_SIMULATED_GPU
  return {"libnccl.so.2"};
#else
  return nvidia_library_names("libnccl.so.2", "nccl", detail::address_in_cuda_runtime());
#endif
}

NcclLibrary::NcclLibrary(const std::vector<std::string>& names) {
  SharedLibrary library(names.empty() ? names_of_nccl() : names);
  library.find(get_version, "ncclGetVersion");
  library.find(get_unique_id, "ncclGetUniqueId");
  library.find(comm_init_rank, "ncclCommInitRank");
  library.find(comm_destroy, "ncclCommDestroy");
  library.find(comm_abort, "ncclCommAbort");
  library.find(comm_get_async_error, "ncclCommGetAsyncError");
  library.find(get_error_string, "ncclGetErrorString");
  library.find(all_reduce, "ncclAllReduce");
  library.find(broadcast, "ncclBroadcast");
  library.find(all_gather, "ncclAllGather");
  library.find(reduce_scatter, "ncclReduceScatter");
  failure = library.failure();
}

void NcclLibrary::check(NcclResult result, const char* call) const {
  if (result != NcclResult::kSuccess) fail("{} failed: {}", call, get_error_string(result));
}

// 10000 major + 100 minor + patch, like NCCL_VERSION_CODE since 2.9.
std::string NcclLibrary::version() const {
  int version = 0;
  check(get_version(&version), "ncclGetVersion");
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

}  // namespace taper::gpu
