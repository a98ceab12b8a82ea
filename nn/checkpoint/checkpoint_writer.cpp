#include "taper/nn/checkpoint/checkpoint_writer.h"

#include <chrono>
#include <new>
#include <system_error>

#include "taper/core/base/error.h"
#include "taper/core/base/profile_events.h"

namespace taper {

CheckpointWriter::~CheckpointWriter() {
  if (pending_.valid()) pending_.wait();
}

bool CheckpointWriter::is_busy() const {
  return pending_.valid() && pending_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

void CheckpointWriter::start(Checkpoint checkpoint, int64_t step, bool best) {
  TAPER_CHECK(!pending_.valid(), "CheckpointWriter: the checkpoint before has not been taken");
  const auto shared = std::make_shared<const Checkpoint>(std::move(checkpoint));
  const auto work = [this, shared, step, best] { return write(*shared, step, best); };
  try {
    pending_ = std::async(std::launch::async, [work] {
      set_thread_name("checkpoints");
      return work();
    });
  } catch (const std::system_error&) {  // no thread to be had: training waits
    std::promise<WrittenCheckpoint> done;
    done.set_value(work());
    pending_ = done.get_future();
  }
}

std::optional<WrittenCheckpoint> CheckpointWriter::take(bool wait) {
  if (!pending_.valid() || (!wait && is_busy())) return std::nullopt;
  return pending_.get();
}

WrittenCheckpoint CheckpointWriter::write(const Checkpoint& checkpoint, int64_t step, bool best) {
  const auto begin = std::chrono::steady_clock::now();
  WrittenCheckpoint result{.step = step, .best = best};
  try {
    result.path = folder_.save(checkpoint, step, best, keep_);
  } catch (const std::bad_alloc&) {
    result.error = fmt::format("{}: not enough memory to write a checkpoint", folder_.path());
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace taper
