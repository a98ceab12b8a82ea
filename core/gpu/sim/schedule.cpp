#include "taper/core/gpu/sim/schedule.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/sim.h"

namespace taper::gpu::sim {
namespace {

constexpr int kMaxDevices = 16;
constexpr size_t kMaxPending = 1024;  // on hardware too, a full launch queue blocks the host

std::atomic<uint64_t> host_wait_count = 0;

uint64_t environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  char* end = nullptr;
  const uint64_t value = std::strtoull(text, &end, 10);
  TAPER_CHECK(*text != '\0' && *end == '\0', "{}='{}' is not a whole number", name, text);
  return value;
}

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): one word of state.
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

Machine& Machine::instance() {
  // Never destroyed: destructors of static objects may use the GPU.
  static Machine& machine = []() -> Machine& {
    detail::lose_devices_in_children();
    return *new Machine;
  }();
  return machine;
}

Machine::Machine() {
  for (int device = 0; device < kMaxDevices; ++device) arenas_.push_back(std::make_unique<Arena>(device));
  reset();
}

void Machine::reset() {
  const uint64_t devices = environment("TAPER_SIM_DEVICES", 1);
  TAPER_CHECK(devices <= kMaxDevices, "TAPER_SIM_DEVICES={}: the simulated GPU has at most {} devices",
              devices, kMaxDevices);
  device_count_ = static_cast<int>(devices);
  memory_limit_ = environment("TAPER_SIM_MEMORY", uint64_t{8} << 30);
  std::fill(std::begin(countdown_), std::end(countdown_), 0);
  set_seed(environment("TAPER_SIM_SEED", 0));
  annotations_ = true;
  faults_are_final_ = environment("TAPER_SIM_FINAL_FAULTS", 0) != 0;
  detail::forget_losses();
  held_failure_ = nullptr;
}

// Weights are powers of two up to 64. Under some seed a stream starves until something waits for it; under
// another it runs ahead.
void Machine::set_seed(uint64_t seed) {
  seed_ = random_ = seed;
  for (auto& [key, queue] : queues_) queue.weight = 0;
}

uint64_t Machine::draw() {
  return mix(random_ += 0x9e3779b97f4a7c15u);
}

int Machine::device_of(const void* address) const {
  for (int device = 0; device < kMaxDevices; ++device) {
    if (arenas_[static_cast<size_t>(device)]->contains(address)) return device;
  }
  return -1;
}

Queue& Machine::queue(Stream stream) {
  return queues_[{stream.device(), stream.id()}];
}

void Machine::enqueue(Stream stream, Work work) {
  Queue& target = queue(stream);
  if (target.capture != nullptr) {
    target.capture->nodes.push_back({std::move(work), target.capture_tail});
    target.capture_tail = {static_cast<int>(target.capture->nodes.size()) - 1};
    return;
  }
  target.tasks.push_back({std::move(work), nullptr, nullptr});
  ++pending_;
  run_surplus();
}

void Machine::enqueue_quietly(Stream stream, Work work) {
  try {
    enqueue(stream, std::move(work));
  } catch (...) {
    held_failure_ = std::current_exception();
  }
}

// Runs half of the queue at a time: opening and closing the devices' memory for each task would cost more
// than most tasks.
void Machine::run_surplus() {
  if (pending_ <= kMaxPending) return;
  install_fault_handler();
  while (pending_ > kMaxPending / 2 && step()) {
  }
  lock_all();
}

void Machine::rethrow_held_failure() {
  if (held_failure_) std::rethrow_exception(std::exchange(held_failure_, nullptr));
}

std::shared_ptr<Mark> Machine::record(Stream stream) {
  Queue& target = queue(stream);
  auto mark = std::make_shared<Mark>();
  if (target.capture != nullptr) {
    mark->capture = target.capture;
    mark->after = target.capture_tail;
  } else {
    target.tasks.push_back({{}, nullptr, mark});
    ++pending_;
  }
  return mark;
}

void Machine::wait(Stream stream, const std::shared_ptr<Mark>& mark) {
  Queue& target = queue(stream);
  if (mark->capture == nullptr) {
    TAPER_CHECK(
        target.capture == nullptr,
        "Stream::wait: stream {} of cuda:{} is capturing, but the event was recorded outside the capture",
        stream.id(), stream.device());
    if (mark->reached) return;
    target.tasks.push_back({{}, mark, nullptr});
    ++pending_;
    return;
  }
  TAPER_CHECK(target.capture == nullptr || target.capture == mark->capture,
              "Stream::wait: stream {} of cuda:{} and the event belong to different captures", stream.id(),
              stream.device());
  target.capture = mark->capture;  // the stream joins the capture
  for (int node : mark->after) {
    if (std::find(target.capture_tail.begin(), target.capture_tail.end(), node) ==
        target.capture_tail.end()) {
      target.capture_tail.push_back(node);
    }
  }
}

bool Machine::capturing(int device) const {
  return std::any_of(queues_.begin(), queues_.end(), [&](const auto& entry) {
    return entry.first.first == device && entry.second.capture != nullptr;
  });
}

void Machine::leave_capture(const std::shared_ptr<Capture>& capture) {
  for (auto& [key, queue] : queues_) {
    if (queue.capture != capture) continue;
    queue.capture = nullptr;
    queue.capture_tail.clear();
  }
}

void Machine::run_until(const Mark& mark) {
  rethrow_held_failure();
  install_fault_handler();
  if (!mark.reached) ++host_wait_count;
  while (!mark.reached) {
    if (!step()) {
      lock_all();
      fail("simulated GPU: nothing left to run, yet an event that is waited for is not reached");
    }
  }
  lock_all();
}

void Machine::run_one() {
  rethrow_held_failure();
  install_fault_handler();
  step();
  lock_all();
}

void Machine::run_all(int device) {
  rethrow_held_failure();
  install_fault_handler();
  auto pending = [&] {
    return std::any_of(queues_.begin(), queues_.end(), [&](const auto& entry) {
      return entry.first.first == device && !entry.second.tasks.empty();
    });
  };
  if (pending()) ++host_wait_count;
  while (pending() && step()) {
  }
  lock_all();
}

bool Machine::step() {
  double total = 0;
  auto runnable = [](const Queue& queue) {
    return !queue.tasks.empty() &&
           (queue.tasks.front().wait_for == nullptr || queue.tasks.front().wait_for->reached);
  };
  for (auto& [key, queue] : queues_) {
    if (queue.weight == 0) {
      const uint64_t identity = static_cast<uint64_t>(key.first) * 4096 + static_cast<uint64_t>(key.second);
      queue.weight = static_cast<double>(1u << (mix(mix(seed_) + identity) % 7));
    }
    if (runnable(queue)) total += queue.weight;
  }
  if (total == 0) return false;
  double at = total * (static_cast<double>(draw() >> 11) * 0x1p-53);
  for (auto& [key, queue] : queues_) {
    if (!runnable(queue)) continue;
    at -= queue.weight;
    if (at >= 0) continue;
    Task task = std::move(queue.tasks.front());
    queue.tasks.pop_front();
    --pending_;
    run(std::move(task), key);
    return true;
  }
  return true;
}

void Machine::run(Task task, std::pair<int, int> key) {
  if (task.work.run) {
    try {
      run_work(task.work, key.first, key.second);
    } catch (const Error& error) {
      drop_work(key.first);
      lock_all();
      if (faults_are_final_) detail::lose_device(key.first, error.what());
      throw;
    } catch (...) {
      drop_work(key.first);
      lock_all();
      throw;
    }
  }
  if (task.mark != nullptr) {
    task.mark->reached = true;
    task.mark->time = std::chrono::steady_clock::now();
  }
}

void Machine::run_work(const Work& work, int device, int stream) {
  const taper::detail::DeviceSpan span(work.what, device, stream);
  work.run();
}

// After a fault CUDA refuses all further work of the process. Here the device forgets its queues and, unless
// faults are final, is usable again.
void Machine::drop_work(int device) {
  for (auto& [key, queue] : queues_) {
    if (key.first != device) continue;
    for (Task& task : queue.tasks) {
      if (task.mark != nullptr) task.mark->reached = true;
    }
    pending_ -= queue.tasks.size();
    queue.tasks.clear();
  }
}

void Machine::unlock_only(int device) {
  for (int other = 0; other < kMaxDevices; ++other) {
    if (other != device) arena(other).lock();
  }
  arena(device).unlock();
}

void Machine::lock_all() {
  for (auto& arena : arenas_) arena->lock();
}

bool Machine::fails_now(int point) {
  return countdown_[point] > 0 && --countdown_[point] == 0;
}

// ------------------------------------------------------------------------------------------------ sim.h

void set_schedule_seed(uint64_t seed) {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.set_seed(seed);
}

void set_device_count(int count) {
  TAPER_CHECK(count >= 0 && count <= kMaxDevices,
              "set_device_count: {} devices; the simulated GPU has 0 to {}", count, kMaxDevices);
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.set_device_count(count);
}

void set_memory_limit(size_t bytes) {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.set_memory_limit(bytes);
}

void fail_call(FaultPoint point, int n) {
  TAPER_CHECK(n >= 1, "fail_call: n is {}; 1 is the next call", n);
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.fail_call(static_cast<int>(point), n);
}

void set_faults_are_final(bool final) {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.set_faults_are_final(final);
}

void set_annotations(bool enabled) {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.set_annotations(enabled);
}

void reset() {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  machine.reset();
}

uint64_t host_waits() {
  return host_wait_count;
}

size_t allocated_bytes(int device) {
  Machine& machine = Machine::instance();
  std::lock_guard lock(machine.mutex);
  return machine.arena(device).used_bytes();
}

}  // namespace taper::gpu::sim
