#pragma once  // spine 11 (docs/0-the-spine.md)
// The GPU as Taper sees it: devices, memory, streams, events, copies and graphs.
//
// One interface, two implementations. cuda/ (-DTAPER_GPU=cuda) is the CUDA runtime; sim/
// (-DTAPER_GPU=sim) is a simulated GPU that runs the same kernels on the CPU and is stricter than hardware:
// streams run late and in an order drawn from a seed, and device memory faults when host code touches it.
// sim.h steers the simulated one.
//
// Work is asynchronous: copy_async, fill_async and launch (launch.h) only enqueue on a stream; an error in
// the work itself surfaces at a later call, usually synchronize. Every failure throws taper::Error with the
// call, the runtime's text and the source line; exhausted memory throws OutOfMemoryError. PyTorch's
// counterparts: c10/cuda/CUDAFunctions.h, CUDAStream.h, CUDAGuard.h, ATen/cuda/CUDAEvent.h, CUDAGraph.h.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct CUstream_st;  // cudaStream_t is a pointer to this

namespace taper::gpu {

// ---------------------------------------------------------------------------------------------- devices

/// Returns whether this build's GPU is the simulated one.
bool is_simulated();

/// Returns the number of devices; 0 on a machine without a GPU or driver, never an error.
int device_count();

/// Returns the device that calls without a device argument use on this thread; initially 0.
int current_device();

/// Changes this thread's current device. Throws Error if there is no such device.
void set_device(int device);

/// Makes `device` current for a scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) : previous_(current_device()) {
    if (device != previous_) set_device(device);
  }
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_;
};

struct DeviceProperties {
  std::string name;
  int multiprocessors = 0;
  int compute_major = 0;  // compute capability, 9.0 for an H200
  int compute_minor = 0;
  size_t total_memory_bytes = 0;
  size_t shared_memory_per_block_bytes = 0;  // the largest a kernel may ask for
  size_t shared_memory_per_multiprocessor_bytes = 0;
  size_t l2_cache_bytes = 0;
  int threads_per_multiprocessor = 0;
  std::string pci_bus_id = {};  // "0000:3b:00.0"; empty for the simulated GPU
};

/// Returns what `device` is. The reference stays valid for the life of the program. Throws Error if there is
/// no such device.
const DeviceProperties& properties(int device = current_device());

struct MemoryInfo {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
};

/// Returns what the device itself reports as free. Memory held by the caching allocator counts as used.
MemoryInfo memory_info(int device = current_device());

/// Waits for all work on all streams of `device`. Throws what failed in that work.
void synchronize(int device = current_device());

// ---------------------------------------------------------------------------------------------- memory

/// Returns raw device memory, aligned to 256 bytes; contents are undefined. Slow (the driver may
/// synchronise): ops use the caching allocator on top of it. Allowed while capturing a graph. Throws
/// OutOfMemoryError.
void* allocate(size_t size_bytes, int device = current_device());

/// Gives back what allocate returned; waits for the device's work first. Null is allowed. Throws Error for
/// any other pointer, and while this thread captures a graph.
void deallocate(void* device_ptr, int device = current_device());

/// Returns page-locked host memory. Only copies from and to such memory are asynchronous. Throws
/// OutOfMemoryError.
void* allocate_pinned(size_t size_bytes);
void deallocate_pinned(void* host_ptr);

/// Returns whether `host_ptr` points into memory from allocate_pinned.
bool is_pinned(const void* host_ptr);

// ---------------------------------------------------------------------------------------------- streams

class Event;

enum class StreamPriority : int8_t { kNormal = 0, kHigh = -1 };

/// A queue of work on one device. A small value, compared by identity; copies name one queue. Streams wait
/// for each other only through events; the default stream is no exception.
class Stream {
 public:
  int device() const { return device_; }
  /// Returns a number that distinguishes streams of one device; 0 is the default stream.
  int id() const { return id_; }
  StreamPriority priority() const { return priority_; }
  /// Returns the cudaStream_t, for vendor libraries; null for the default stream and in the simulated build.
  CUstream_st* handle() const { return handle_; }

  /// Makes later work on this stream wait for what `event` recorded last. Does nothing if it never recorded.
  void wait(const Event& event) const;
  /// Waits for all work enqueued so far. Throws what failed in that work.
  void synchronize() const;
  /// Returns whether all work enqueued so far is done.
  bool query() const;

  bool operator==(const Stream& other) const { return device_ == other.device_ && id_ == other.id_; }

 private:
  friend struct StreamAccess;  // how the two implementations make streams
  Stream(int device, int id, StreamPriority priority, CUstream_st* handle)
      : device_(device), id_(id), priority_(priority), handle_(handle) {}

  int device_;
  int id_;
  StreamPriority priority_ = StreamPriority::kNormal;
  CUstream_st* handle_ = nullptr;
};

Stream default_stream(int device = current_device());

/// Returns a side stream from a pool of 32 per device and priority, handed out in turn. The pool is never
/// destroyed, so a Stream stays valid for ever. (c10::cuda::getStreamFromPool)
Stream stream_from_pool(int device = current_device(), StreamPriority priority = StreamPriority::kNormal);

/// Returns where ops on `device` enqueue their work on this thread; initially the default stream.
Stream current_stream(int device = current_device());
void set_current_stream(Stream stream);

/// Makes `stream` its device's current stream, and that device current, for a scope.
class StreamGuard {
 public:
  explicit StreamGuard(Stream stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  DeviceGuard device_;
  Stream previous_;
};

// ---------------------------------------------------------------------------------------------- events

enum class EventTiming : uint8_t { kOff, kOn };

/// A point in a stream that others can wait for. Recording again moves the point; waits that are already
/// enqueued keep the old one.
class Event {
 public:
  explicit Event(EventTiming timing = EventTiming::kOff);
  ~Event();
  Event(Event&&) noexcept;
  Event& operator=(Event&&) noexcept;

  /// Marks the end of the work enqueued on `stream` so far.
  void record(Stream stream = current_stream());
  /// Returns whether the recorded point is reached; true if nothing was recorded.
  bool query() const;
  /// Waits for the recorded point. Throws what failed before it.
  void synchronize() const;
  /// Returns the milliseconds from `start` to this event. Throws Error unless both have timing on, are
  /// recorded and are reached.
  float elapsed_ms(const Event& start) const;

  struct State;  // for the implementations
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// ---------------------------------------------------------------------------------------------- copies

enum class CopyKind : uint8_t { kHostToDevice, kDeviceToHost, kDeviceToDevice };

/// Copies `size_bytes` on `stream`. Pageable host memory may be reused on return. Pinned host memory and
/// device memory must stay untouched until the copy has run. kDeviceToDevice may cross devices.
void copy_async(void* dst, const void* src, size_t size_bytes, CopyKind kind, Stream stream);

/// Sets every one of `size_bytes` bytes of device memory to `byte`.
void fill_async(void* device_ptr, uint8_t byte, size_t size_bytes, Stream stream);

// ---------------------------------------------------------------------------------------------- graphs

/// Captured work, ready to run again with one call: same kernels, same arguments, same addresses.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;

  /// Enqueues the whole graph on `stream`. Throws Error if the graph is empty (default-constructed).
  void replay(Stream stream = current_stream()) const;
  /// Returns the number of kernels, copies and fills in the graph.
  size_t node_count() const;

  struct State;
  explicit Graph(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

/// Records, from here to end_capture, the work on `stream` and on streams that wait for its events, instead
/// of running it. Meanwhile this thread may neither synchronise nor query these streams (CaptureError), nor
/// deallocate. The default stream cannot capture.
void begin_capture(Stream stream);

/// Ends the capture and returns the graph. Throws CaptureError if something was done that cannot be captured, and
/// unless `stream` has waited again for every stream that joined the capture.
Graph end_capture(Stream stream);

/// Ends a capture that is to come to nothing, and forgets what it has recorded. Does nothing if `stream` captures nothing.
void abandon_capture(Stream stream) noexcept;

/// Returns whether the stream captures, or has joined a capture, between begin_capture and end_capture.
bool is_capturing(Stream stream);

// ------------------------------------------------------------------------------- what allocators report

/// An allocator calls these where it hands out, and takes back, a piece of a block from allocate. The
/// simulated GPU fills the piece with NaNs in stream order, and its checks learn what kernels may touch. With
/// CUDA they do nothing. They never throw.
void annotate_allocated(void* device_ptr, size_t size_bytes, Stream stream);
void annotate_freed(void* device_ptr, size_t size_bytes, Stream stream);

}  // namespace taper::gpu
