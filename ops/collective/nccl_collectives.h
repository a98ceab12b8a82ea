#pragma once
// NcclCollectives: collectives among GPUs, one a rank, on a stream of their own. The ranks have agreed on a call
// (roll_call.h) before NCCL gets it, so a rank that is missing is named before any GPU waits for it. What fails later, on
// the GPUs, is found by watch(). A graph may capture them: the ranks agree when they capture, and replay together.
// PyTorch's counterpart: c10d/ProcessGroupNCCL.cpp.

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "taper/core/gpu/nccl_library.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tensor.h"
#include "taper/ops/collective/collective_call.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

class NcclCollectives {
 public:
  /// A collective on its way. The caller of ProcessGroup and the group's thread share it.
  struct UnderWay;
  struct Cost {
    double seconds = 0;         ///< from begin to end on the GPU, other ranks' delays included
    double waited_seconds = 0;  ///< that the stream which needs the result stood still
  };

  /// Joins the other ranks, which call it, too. Throws Error with NCCL's text.
  NcclCollectives(std::shared_ptr<const gpu::NcclLibrary> library, const gpu::NcclUniqueId& id, int rank,
                  int size, int device, CollectiveTimeout timeout);
  ~NcclCollectives();
  NcclCollectives(const NcclCollectives&) = delete;
  NcclCollectives& operator=(const NcclCollectives&) = delete;

  /// In the caller's thread: marks where the current stream has x ready.
  std::shared_ptr<UnderWay> prepare(const CollectiveCall& call, const Tensor& x);
  /// In the group's thread: hands the collective to NCCL.
  void launch(const std::shared_ptr<UnderWay>& one);
  /// In the caller's thread, after launch(): the current stream waits for the result.
  void wait(UnderWay& one);
  /// In the group's thread, now and then: calls `ended` for each collective that has. Returns what is wrong, "all-reduce
  /// 7 of ... does not end on the GPU"; empty if all is well.
  std::string watch(const std::function<void(const CollectiveCall&, const Cost&)>& ended);
  /// In the group's thread: returns whether all collectives have ended.
  bool is_idle() const { return under_way_.empty() || comm_ == nullptr; }
  /// In the group's thread: what is on the GPU comes to an end, with any result.
  void abort() noexcept;

 private:
  std::shared_ptr<const gpu::NcclLibrary> library_;
  gpu::NcclComm comm_ = nullptr;
  int rank_, device_;
  CollectiveTimeout timeout_;
  gpu::Stream stream_;
  std::list<std::shared_ptr<UnderWay>> under_way_;  ///< keeps the tensors alive
};

/// Sends this group's tensors on GPU `device` through NCCL from now on. All ranks must call it. Returns an empty text, or
/// why it changes nothing, the same on all ranks: two ranks use one GPU, or a rank has no NCCL. `libraries`: where to
/// look for it; empty for the usual places. Throws Error with NCCL's text if the GPUs cannot meet.
std::string use_nccl(ProcessGroup& group, int device, const std::vector<std::string>& libraries = {});

}  // namespace taper
