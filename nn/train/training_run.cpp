#include "taper/nn/train/training_run.h"

#include <new>

namespace taper {

double TrainingRun::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void TrainingRun::tell(const std::function<void(TrainSink&)>& event) {
  std::vector<std::string> errors;
  for (auto& sink : sinks_) {
    try {
      event(*sink);
    } catch (const std::exception& error) {
      errors.emplace_back(error.what());
      sink.reset();
    }
  }
  if (errors.empty()) return;
  std::erase(sinks_, nullptr);
  for (const std::string& error : errors) {
    outcome_.errors.push_back(error);
    tell([&](TrainSink& sink) { sink.on_sink_dropped(error); });
  }
}

void TrainingRun::end_early(Ending ending, const std::string& why) {
  outcome_.ending = ending;
  outcome_.errors.push_back(why);
}

const Outcome& TrainingRun::execute(const std::function<void()>& body) {
  start_ = std::chrono::steady_clock::now();
  try {
    body();
    if (interrupted()) outcome_.ending = Ending::kInterrupted;
  } catch (const NotFiniteError& error) {
    end_early(Ending::kNotFinite, error.what());
  } catch (const OutOfMemoryError& error) {
    end_early(Ending::kOutOfMemory, error.what());
  } catch (const std::bad_alloc&) {
    end_early(Ending::kOutOfMemory, "out of memory: the system has no more to give");
  } catch (const std::exception& error) {
    end_early(Ending::kFailed, error.what());
  }
  outcome_.seconds = seconds();
  for (const auto& sink : sinks_) {
    try {
      sink->on_run_end(outcome_);
    } catch (const std::exception& error) {
      outcome_.errors.emplace_back(error.what());
    }
  }
  return outcome_;
}

}  // namespace taper
