// The runtime interface (core/gpu/runtime.h) on the CUDA runtime.

#include <cuda_runtime_api.h>

#include <array>
#include <mutex>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/gpu/cuda/check.h"
#include "taper/core/gpu/cuda/nvtx.h"
#include "taper/core/gpu/cuda/used_devices.h"
#include "taper/core/gpu/launch_text.h"
#include "taper/core/gpu/pinned_ranges.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/gpu/stream_access.h"

namespace taper::gpu {
namespace {

thread_local int captures_of_this_thread = 0;

// Allocating is harmless to a capture, but CUDA must be told. (As in c10/cuda/CUDACachingAllocator.cpp.)
class RelaxedCapture {
 public:
  RelaxedCapture() { TAPER_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  ~RelaxedCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

detail::PinnedRanges& pinned_ranges() {
  static auto& ranges =
      *new detail::PinnedRanges;  // allocators that are static objects give memory back at exit
  return ranges;
}

}  // namespace

/// The cudaEvent_t belongs to the device of the first stream it is recorded on.
struct Event::State {
  EventTiming timing = EventTiming::kOff;
  int device = -1;  // -1: never recorded
  cudaEvent_t event = nullptr;

  explicit State(EventTiming with_timing) : timing(with_timing) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (event != nullptr) cudaEventDestroy(event);
  }
};

bool is_simulated() {
  return false;
}

// ---------------------------------------------------------------------------------------------- devices

int device_count() {
  static const int count = [] {
    detail::start_nvtx();
    int found = 0;
    // No driver, no device, or a driver that is too old: each means that there is no GPU to use.
    if (cudaGetDeviceCount(&found) != cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
    if (found > 0) detail::lose_devices_in_children();
    return found;
  }();
  return count;
}

int current_device() {
  if (device_count() == 0) return 0;
  detail::refuse_if_forked();
  int device = 0;
  TAPER_CUDA_CHECK(cudaGetDevice(&device));
  return device;
}

void set_device(int device) {
  detail::check_device("set_device", device);
  TAPER_CUDA_CHECK(cudaSetDevice(device));
}

const DeviceProperties& properties(int device) {
  detail::check_device("properties", device);
  static std::array<std::once_flag, 64> read;
  static auto& all = *new std::array<DeviceProperties, 64>;  // destructors of static objects read it too
  const auto index = static_cast<size_t>(device);
  std::call_once(read[index], [&] {
    cudaDeviceProp found{};
    TAPER_CUDA_CHECK(cudaGetDeviceProperties(&found, device));
    char bus_id[32] = {};
    TAPER_CUDA_CHECK(cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, device));
    all[index] = {.name = found.name,
                  .multiprocessors = found.multiProcessorCount,
                  .compute_major = found.major,
                  .compute_minor = found.minor,
                  .total_memory_bytes = found.totalGlobalMem,
                  .shared_memory_per_block_bytes = found.sharedMemPerBlockOptin,
                  .shared_memory_per_multiprocessor_bytes = found.sharedMemPerMultiprocessor,
                  .l2_cache_bytes = static_cast<size_t>(found.l2CacheSize),
                  .threads_per_multiprocessor = found.maxThreadsPerMultiProcessor,
                  .pci_bus_id = bus_id};
  });
  return all[index];
}

MemoryInfo memory_info(int device) {
  const DeviceGuard guard(device);
  MemoryInfo info;
  TAPER_CUDA_CHECK(cudaMemGetInfo(&info.free_bytes, &info.total_bytes));
  return info;
}

void synchronize(int device) {
  const DeviceGuard guard(device);
  TAPER_CUDA_CHECK(cudaDeviceSynchronize());
}

void detail::wait_for_used_devices() {
  const uint64_t used = used_devices.exchange(0);
  for (int device = 0; device < kMaxDevices; ++device)
    if ((used >> device & 1) != 0) synchronize(device);
}

// ---------------------------------------------------------------------------------------------- memory

void* allocate(size_t size_bytes, int device) {
  detail::check_device("allocate", device);
  if (size_bytes == 0) return nullptr;
  const DeviceGuard guard(device);
  const RelaxedCapture relaxed;
  void* device_ptr = nullptr;
  if (const cudaError_t status = cudaMalloc(&device_ptr, size_bytes); status != cudaSuccess) {
    cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    const auto message = fmt::format("cuda:{}: allocate of {} bytes failed: {}; {} of {} bytes are free",
                                     device, size_bytes, cudaGetErrorString(status), free_bytes, total_bytes);
    detail::lose_device_if_final(status, "cudaMalloc");
    if (status == cudaErrorMemoryAllocation) throw OutOfMemoryError(message);
    throw Error(message);
  }
  return device_ptr;
}

void deallocate(void* device_ptr, int device) {
  if (device_ptr == nullptr) return;
  TAPER_CHECK(captures_of_this_thread == 0, "deallocate: this thread is capturing a graph");
  if (is_lost(device)) return;  // its memory ends with the process
  const DeviceGuard guard(device);
  TAPER_CUDA_CHECK(cudaFree(device_ptr));
}

void* allocate_pinned(size_t size_bytes) {
  if (size_bytes == 0) return nullptr;
  const RelaxedCapture relaxed;
  void* host_ptr = nullptr;
  // Portable: pinned for every device, not just the current one.
  TAPER_CUDA_CHECK(cudaHostAlloc(&host_ptr, size_bytes, cudaHostAllocPortable));
  pinned_ranges().add(host_ptr, size_bytes);
  return host_ptr;
}

void deallocate_pinned(void* host_ptr) {
  if (host_ptr == nullptr || detail::is_forked()) return;
  // Forgets the range before the memory is free: after that, another thread may get the same addresses.
  TAPER_CHECK(pinned_ranges().remove(host_ptr), "deallocate_pinned: {} did not come from allocate_pinned",
              host_ptr);
  TAPER_CUDA_CHECK(cudaFreeHost(host_ptr));
}

bool is_pinned(const void* host_ptr) {
  return pinned_ranges().contains(host_ptr);
}

void annotate_allocated(void*, size_t, Stream) {}
void annotate_freed(void*, size_t, Stream) {}

// ---------------------------------------------------------------------------------------------- streams

CUstream_st* detail::create_stream_handle(int device, StreamPriority priority) {
  const DeviceGuard guard(device);
  cudaStream_t handle = nullptr;
  TAPER_CUDA_CHECK(cudaStreamCreateWithPriority(&handle, cudaStreamNonBlocking, static_cast<int>(priority)));
  return handle;
}

void Stream::wait(const Event& event) const {
  const DeviceGuard guard(device_);
  if (cudaEvent_t recorded = event.state().event) TAPER_CUDA_CHECK(cudaStreamWaitEvent(handle_, recorded, 0));
}

void Stream::synchronize() const {
  const DeviceGuard guard(device_);
  TAPER_CUDA_CHECK(cudaStreamSynchronize(handle_));
}

bool Stream::query() const {
  const DeviceGuard guard(device_);
  const cudaError_t status = cudaStreamQuery(handle_);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  TAPER_CUDA_CHECK(status);
  return true;
}

// ---------------------------------------------------------------------------------------------- events

Event::Event(EventTiming timing) : state_(std::make_unique<State>(timing)) {}
Event::~Event() = default;
Event::Event(Event&&) noexcept = default;
Event& Event::operator=(Event&&) noexcept = default;

void Event::record(Stream stream) {
  const DeviceGuard guard(stream.device());
  if (state_->device >= 0 && state_->device != stream.device())
    state_ = std::make_unique<State>(state_->timing);
  if (state_->event == nullptr) {
    const unsigned flags = state_->timing == EventTiming::kOn ? cudaEventDefault : cudaEventDisableTiming;
    TAPER_CUDA_CHECK(cudaEventCreateWithFlags(&state_->event, flags));
    state_->device = stream.device();
  }
  TAPER_CUDA_CHECK(cudaEventRecord(state_->event, stream.handle()));
}

bool Event::query() const {
  if (state_->event == nullptr) return true;
  const DeviceGuard guard(state_->device);
  const cudaError_t status = cudaEventQuery(state_->event);
  if (status == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  TAPER_CUDA_CHECK(status);
  return true;
}

void Event::synchronize() const {
  if (state_->event == nullptr) return;
  const DeviceGuard guard(state_->device);
  TAPER_CUDA_CHECK(cudaEventSynchronize(state_->event));
}

float Event::elapsed_ms(const Event& start) const {
  for (const State* state : {start.state_.get(), state_.get()}) {
    TAPER_CHECK(state->timing == EventTiming::kOn,
                "Event::elapsed_ms: an event was made without EventTiming::kOn");
    TAPER_CHECK(state->event != nullptr, "Event::elapsed_ms: an event was never recorded");
  }
  const DeviceGuard guard(state_->device);
  float milliseconds = 0;
  TAPER_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start.state_->event, state_->event));
  return milliseconds;
}

// ---------------------------------------------------------------------------------------------- copies

void copy_async(void* dst, const void* src, size_t size_bytes, CopyKind kind, Stream stream) {
  if (size_bytes == 0) return;
  const DeviceGuard guard(stream.device());
  const cudaMemcpyKind direction = kind == CopyKind::kHostToDevice   ? cudaMemcpyHostToDevice
                                   : kind == CopyKind::kDeviceToHost ? cudaMemcpyDeviceToHost
                                                                     : cudaMemcpyDeviceToDevice;
  detail::note_used(stream.device());
  TAPER_CUDA_CHECK(cudaMemcpyAsync(dst, src, size_bytes, direction, stream.handle()));
}

void fill_async(void* device_ptr, uint8_t byte, size_t size_bytes, Stream stream) {
  if (size_bytes == 0) return;
  const DeviceGuard guard(stream.device());
  detail::note_used(stream.device());
  TAPER_CUDA_CHECK(cudaMemsetAsync(device_ptr, byte, size_bytes, stream.handle()));
}

// ---------------------------------------------------------------------------------------------- launch

void detail::launch(const char* name, const LaunchConfig& config, const void* kernel, void** arguments) {
  check_launch(name, config);
  const DeviceGuard guard(config.stream.device());
  auto check = [&](cudaError_t status) {
    if (status == cudaSuccess) return;
    cudaGetLastError();
    lose_device_if_final(status, "cudaLaunchKernel");
    fail("{} failed: {}: {}", launch_text(name, config), cudaGetErrorName(status),
         cudaGetErrorString(status));
  };
  constexpr size_t kWithoutAsking = 48 * 1024;  // more dynamic shared memory needs an attribute of the kernel
  if (config.dynamic_shared_bytes > kWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(config.dynamic_shared_bytes)));
  }
  note_used(config.stream.device());
  check(cudaLaunchKernel(kernel, config.grid, config.block, arguments, config.dynamic_shared_bytes,
                         config.stream.handle()));
}

// ---------------------------------------------------------------------------------------------- graphs

struct Graph::State {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t instance = nullptr;
  size_t node_count = 0;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (instance != nullptr) cudaGraphExecDestroy(instance);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::Graph(std::unique_ptr<State> state) : state_(std::move(state)) {}

size_t Graph::node_count() const {
  return state_ == nullptr ? 0 : state_->node_count;
}

void Graph::replay(Stream stream) const {
  TAPER_CHECK(state_ != nullptr, "Graph::replay: the graph is empty; capture it first");
  const DeviceGuard guard(stream.device());
  detail::note_used(stream.device());
  TAPER_CUDA_CHECK(cudaGraphLaunch(state_->instance, stream.handle()));
}

void begin_capture(Stream stream) {
  TAPER_CHECK(stream.id() != 0, "begin_capture: the default stream cannot capture; use stream_from_pool()");
  const DeviceGuard guard(stream.device());
  TAPER_CUDA_CHECK(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal));
  ++captures_of_this_thread;
}

Graph end_capture(Stream stream) {
  TAPER_CHECK(is_capturing(stream), "end_capture: no capture began on stream {} of cuda:{}", stream.id(),
              stream.device());
  const DeviceGuard guard(stream.device());
  --captures_of_this_thread;
  auto state = std::make_unique<Graph::State>();
  TAPER_CUDA_CHECK(cudaStreamEndCapture(stream.handle(), &state->graph));
  TAPER_CUDA_CHECK(cudaGraphGetNodes(state->graph, nullptr, &state->node_count));
  TAPER_CUDA_CHECK(cudaGraphInstantiate(&state->instance, state->graph, 0));
  return Graph(std::move(state));
}

void abandon_capture(Stream stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (stream.id() == 0 || cudaStreamIsCapturing(stream.handle(), &status) != cudaSuccess ||
      status == cudaStreamCaptureStatusNone) {
    cudaGetLastError();
    return;
  }
  --captures_of_this_thread;
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream.handle(), &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
}

bool is_capturing(Stream stream) {
  if (stream.id() == 0) return false;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  TAPER_CUDA_CHECK(cudaStreamIsCapturing(stream.handle(), &status));
  return status != cudaStreamCaptureStatusNone;
}

}  // namespace taper::gpu
