#include "taper/core/base/fork.h"

#include <pthread.h>

#include <vector>

namespace taper {
namespace {

struct HeldOverFork {
  std::mutex mutex;  // for the list
  std::vector<std::mutex*> locks;
};

HeldOverFork& held_over_fork() {
  static HeldOverFork& held = *new HeldOverFork;  // outlives every static object that may fork
  return held;
}

void take_all() {
  held_over_fork().mutex.lock();
  for (std::mutex* lock : held_over_fork().locks) lock->lock();
}

void let_go_of_all() {
  for (std::mutex* lock : held_over_fork().locks) lock->unlock();
  held_over_fork().mutex.unlock();
}

}  // namespace

void hold_over_fork(std::mutex& mutex) {
  [[maybe_unused]] static const int registered = pthread_atfork(take_all, let_go_of_all, let_go_of_all);
  const std::lock_guard lock(held_over_fork().mutex);
  held_over_fork().locks.push_back(&mutex);
}

}  // namespace taper
