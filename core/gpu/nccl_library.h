#pragma once
// NCCL, NVIDIA's collectives among GPUs, opened at run time, so that programs start where it is missing. The types below
// are NCCL's ABI as far as it is called here, which has stayed the same since NCCL 2.10; cuda/nccl/header_check.cpp
// compares them with nccl.h where a build has it.

#include <cstdint>
#include <string>
#include <vector>

struct CUstream_st;

namespace taper::gpu {

struct NcclUniqueId {
  char internal[128];
};
using NcclComm = struct ncclComm*;
enum class NcclResult : int { kSuccess = 0, kInProgress = 7 };
enum class NcclDType : int {
  kUInt8 = 1,
  kInt32 = 2,
  kInt64 = 4,
  kFloat16 = 6,
  kFloat32 = 7,
  kFloat64 = 8,
  kBFloat16 = 9
};
enum class NcclOp : int { kSum = 0, kMax = 2, kAvg = 4 };

struct NcclLibrary {
  /// Opens the first of `names` that can be opened. Without names: NCCL wherever the system, the toolkit or NVIDIA's
  /// Python packages have it. Throws nothing; see failure.
  explicit NcclLibrary(const std::vector<std::string>& names = {});

  /// Throws Error with the call and NCCL's text unless `result` is success.
  void check(NcclResult result, const char* call) const;
  /// Returns "2.28.9".
  std::string version() const;

  std::string failure;  ///< why it cannot be used; empty if it can

  NcclResult (*get_version)(int*) = nullptr;
  NcclResult (*get_unique_id)(NcclUniqueId*) = nullptr;
  NcclResult (*comm_init_rank)(NcclComm*, int size, NcclUniqueId, int rank) = nullptr;
  NcclResult (*comm_destroy)(NcclComm) = nullptr;
  NcclResult (*comm_abort)(NcclComm) = nullptr;
  NcclResult (*comm_get_async_error)(NcclComm, NcclResult*) = nullptr;
  const char* (*get_error_string)(NcclResult) = nullptr;
  NcclResult (*all_reduce)(const void* from, void* to, size_t count, NcclDType, NcclOp, NcclComm,
                           CUstream_st*) = nullptr;
  NcclResult (*broadcast)(const void* from, void* to, size_t count, NcclDType, int root, NcclComm,
                          CUstream_st*) = nullptr;
  NcclResult (*all_gather)(const void* from, void* to, size_t count_of_one, NcclDType, NcclComm,
                           CUstream_st*) = nullptr;
  NcclResult (*reduce_scatter)(const void* from, void* to, size_t count_of_one, NcclDType, NcclOp, NcclComm,
                               CUstream_st*) = nullptr;
};

}  // namespace taper::gpu
