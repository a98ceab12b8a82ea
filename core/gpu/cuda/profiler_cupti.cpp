// What NVIDIA's GPUs did, from CUPTI's activity records (CUPTI documentation, "CUPTI Activity API"). The
// first Profiler opens the library. Programs also run without it, and then say so.

#include <cuda_runtime_api.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "taper/core/base/error.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/gpu/cuda/check.h"
#include "taper/core/gpu/cuda/used_devices.h"
#include "taper/core/gpu/device_profiler.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/shared_library.h"
#if TAPER_HAS_CUPTI
#include <cupti.h>
#endif

namespace taper::gpu {

#if !TAPER_HAS_CUPTI

std::string detail::start_device_profiling() {
  return "the profile has no kernels: this build was made without CUPTI's headers";
}

detail::DeviceRecording detail::stop_device_profiling() {
  wait_for_used_devices();
  return {};
}

#else

namespace {

/// The functions of libcupti that this file uses.
struct Cupti {
  decltype(&cuptiActivityRegisterTimestampCallback) register_clock = nullptr;
  decltype(&cuptiActivityRegisterCallbacks) register_buffers = nullptr;
  decltype(&cuptiSetThreadIdType) set_thread_id_type = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&cuptiGetCallbackName) callback_name = nullptr;
  decltype(&cuptiGetResultString) result_text = nullptr;
  std::string failure;  // empty if all is well

  Cupti() {
    std::vector<std::string> names =
        nvidia_library_names(fmt::format("libcupti.so.{}", CUDART_VERSION / 1000), "cuda_cupti",
                             reinterpret_cast<const void*>(&cudaRuntimeGetVersion));
    names.push_back("libcupti.so");
    SharedLibrary library(names);
    const auto find = [&](auto& function, const char* name) { library.find(function, name); };
    find(register_clock, "cuptiActivityRegisterTimestampCallback");
    find(register_buffers, "cuptiActivityRegisterCallbacks");
    find(set_thread_id_type, "cuptiSetThreadIdType");
    find(enable, "cuptiActivityEnable");
    find(disable, "cuptiActivityDisable");
    find(flush, "cuptiActivityFlushAll");
    find(next_record, "cuptiActivityGetNextRecord");
    find(callback_name, "cuptiGetCallbackName");
    find(result_text, "cuptiGetResultString");
    failure = library.failure();
  }
};

const Cupti& cupti() {
  static const Cupti cupti;
  return cupti;
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_RUNTIME,
                                         CUPTI_ACTIVITY_KIND_DRIVER};

struct Records {
  std::mutex mutex;  // CUPTI delivers records on its own thread
  std::vector<ProfileSpan> spans;
};

Records& records() {
  static auto& records = *new Records;
  return records;
}

// Turns "void taper::ops::(anonymous namespace)::relu<float>(float*, int)" into "taper::ops::relu<float>".
std::string readable_name(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  std::string name = status == 0 ? demangled.get() : mangled;
  for (const std::string_view noise : {"(anonymous namespace)::", "void "}) {
    for (size_t at; (at = name.find(noise)) != std::string::npos;) name.erase(at, noise.size());
  }
  return name.substr(0, name.find('('));
}

ProfileSpan on_stream(SpanKind kind, std::string name, uint64_t begin, uint64_t end, uint32_t device,
                      uint32_t stream, uint32_t correlation) {
  ProfileSpan span;
  span.kind = kind;
  span.name = std::move(name);
  span.begin_ns = int64_t(begin);
  span.end_ns = int64_t(end);
  span.device = int(device);
  span.stream = int(stream);
  span.correlation = correlation;
  return span;
}

std::string_view copy_name(uint8_t kind) {
  switch (kind) {
    case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD:
      return "copy host to device";
    case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH:
      return "copy device to host";
    default:
      return "copy on device";
  }
}

/// Returns true for calls that take the host's time or set off work; the rest (cudaGetDevice and the like) is
/// noise.
bool is_worth_a_bar(std::string_view call, bool driver) {
  if (driver) return call.starts_with("cuLaunch");
  for (const std::string_view part :
       {"Launch", "Memcpy", "Memset", "Synchronize", "Malloc", "Free", "HostAlloc", "StreamWaitEvent"}) {
    if (call.find(part) != std::string_view::npos) return true;
  }
  return false;
}

void keep(std::vector<ProfileSpan>& spans, const CUpti_Activity& record) {
  switch (record.kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto& kernel = reinterpret_cast<const CUpti_ActivityKernel10&>(record);
      ProfileSpan span = on_stream(SpanKind::kKernel, readable_name(kernel.name), kernel.start, kernel.end,
                                   kernel.deviceId, kernel.streamId, kernel.correlationId);
      span.grid = {uint32_t(kernel.gridX), uint32_t(kernel.gridY), uint32_t(kernel.gridZ)};
      span.block = {uint32_t(kernel.blockX), uint32_t(kernel.blockY), uint32_t(kernel.blockZ)};
      span.shared_bytes = kernel.dynamicSharedMemory;
      spans.push_back(std::move(span));
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const auto& copy = reinterpret_cast<const CUpti_ActivityMemcpy6&>(record);
      spans.push_back(on_stream(SpanKind::kCopy, std::string(copy_name(copy.copyKind)), copy.start, copy.end,
                                copy.deviceId, copy.streamId, copy.correlationId));
      spans.back().bytes = int64_t(copy.bytes);
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const auto& fill = reinterpret_cast<const CUpti_ActivityMemset4&>(record);
      spans.push_back(on_stream(SpanKind::kFill, "fill", fill.start, fill.end, fill.deviceId, fill.streamId,
                                fill.correlationId));
      spans.back().bytes = int64_t(fill.bytes);
      break;
    }
    case CUPTI_ACTIVITY_KIND_RUNTIME:
    case CUPTI_ACTIVITY_KIND_DRIVER: {
      const auto& call = reinterpret_cast<const CUpti_ActivityAPI&>(record);
      const bool driver = record.kind == CUPTI_ACTIVITY_KIND_DRIVER;
      const char* name = nullptr;
      cupti().callback_name(driver ? CUPTI_CB_DOMAIN_DRIVER_API : CUPTI_CB_DOMAIN_RUNTIME_API, call.cbid,
                            &name);
      if (name == nullptr || !is_worth_a_bar(name, driver)) break;
      ProfileSpan span;
      span.kind = SpanKind::kCall;
      span.name = std::string(name).substr(0, std::string_view(name).find("_v"));
      span.begin_ns = int64_t(call.start);
      span.end_ns = int64_t(call.end);
      span.thread = int(call.threadId);
      span.depth = 1 << 20;  // inside any op that began at the same nanosecond
      span.correlation = call.correlationId;
      spans.push_back(std::move(span));
      break;
    }
    default:
      break;
  }
}

constexpr size_t kBufferBytes = 4 << 20;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;  // as many as fit
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid_bytes) {
  const std::lock_guard lock(records().mutex);
  CUpti_Activity* record = nullptr;
  while (valid_bytes > 0 && cupti().next_record(buffer, valid_bytes, &record) == CUPTI_SUCCESS)
    keep(records().spans, *record);
  std::free(buffer);
}

uint64_t CUPTIAPI clock_ns() {
  return uint64_t(taper::detail::profile_clock_ns());
}

constexpr const char* kOneTool = "compute-sanitizer and Nsight exclude it";

std::string first_failure(std::initializer_list<CUptiResult> results) {
  for (const CUptiResult result : results) {
    if (result == CUPTI_SUCCESS) continue;
    const char* text = nullptr;
    cupti().result_text(result, &text);
    const std::string why = text != nullptr ? text : fmt::format("error {}", int(result));
    const bool other_tool = result == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED ||
                            result == CUPTI_ERROR_NOT_INITIALIZED || result == CUPTI_ERROR_NOT_COMPATIBLE;
    return other_tool ? fmt::format("{} ({})", why, kOneTool) : why;
  }
  return {};
}

void stop_recording() {
  for (const CUpti_ActivityKind kind : kKinds) cupti().disable(kind);
}

}  // namespace

std::string detail::start_device_profiling() {
  forget_used_devices();
  if (device_count() == 0) return {};
  const auto refusal = [](const std::string& why) {
    return fmt::format("the profile has no kernels: CUPTI cannot be used: {}", why);
  };
  if (!cupti().failure.empty()) return refusal(cupti().failure);
  static const std::string& failure = *new std::string(first_failure(
      {cupti().register_clock(clock_ns), cupti().set_thread_id_type(CUPTI_ACTIVITY_THREAD_ID_TYPE_SYSTEM),
       cupti().register_buffers(give_buffer, take_buffer)}));
  if (!failure.empty()) return refusal(failure);
  for (const CUpti_ActivityKind kind : kKinds) {
    const std::string why = first_failure({cupti().enable(kind)});
    if (why.empty()) continue;
    stop_recording();
    return refusal(why);
  }
  const std::lock_guard lock(records().mutex);
  records().spans.clear();
  return {};
}

detail::DeviceRecording detail::stop_device_profiling() {
  const bool worked = used_devices != 0;
  wait_for_used_devices();
  if (device_count() == 0 || !cupti().failure.empty()) return {};
  cupti().flush(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  stop_recording();
  DeviceRecording recording;
  {
    const std::lock_guard lock(records().mutex);
    recording.spans = std::exchange(records().spans, {});
  }
  const auto on_device = [](const ProfileSpan& span) { return span.device >= 0; };
  if (worked && std::none_of(recording.spans.begin(), recording.spans.end(), on_device))
    recording.note = fmt::format("the profile has no kernels: CUPTI recorded none ({})", kOneTool);
  return recording;
}

#endif

}  // namespace taper::gpu
