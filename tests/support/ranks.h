#pragma once
// Several ranks in one test: each a thread, with a ProcessGroup of its own.

#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "taper/ops/collective/local_group.h"

namespace taper {

/// Calls body(rank) in one thread for each rank. Returns what each threw; an empty text for nothing. Catch's own checks
/// belong to one thread: use expect().
inline std::vector<std::string> in_threads(int ranks, const std::function<void(int)>& body) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        errors[size_t(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

/// Calls body(group) in one thread for each rank.
inline std::vector<std::string> in_ranks(int ranks, const std::function<void(ProcessGroup&)>& body,
                                         CollectiveTimeout timeout = CollectiveTimeout(60)) {
  const auto groups = make_local_groups(ranks, timeout);
  return in_threads(ranks, [&](int rank) { body(*groups[size_t(rank)]); });
}

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("not as expected: " + what);
}

/// Returns what `body` throws; an empty text for nothing.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

}  // namespace taper
