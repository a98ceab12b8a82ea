// The CPU loop over threads, and the generators that several threads share.

#include "taper/core/base/parallel.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "child_process.h"
#include "taper/core/base/error.h"
#include "taper/core/generator.h"
#include "warnings.h"

using namespace taper;

namespace {

/// Sets the number of threads inside a scope.
class Threads {
 public:
  explicit Threads(int count) : before_(num_threads()) { set_num_threads(count); }
  ~Threads() { set_num_threads(before_); }

 private:
  int before_;
};

/// Returns the number of threads that were in one loop at once. Waits until all expected threads are there.
int threads_in_a_loop() {
  std::atomic<int> arrived{0};
  const int count = num_threads();
  parallel_chunks(count, [&](int64_t) {
    for (++arrived; arrived < count;) std::this_thread::yield();
  });
  return arrived;
}

/// Gives this process to a user who may have `most` threads, its first one included. Only the superuser can
/// become a user who has no threads yet. Returns false if the system refuses.
bool limit_threads(rlim_t most) {
  const rlimit limit = {.rlim_cur = most, .rlim_max = most};
  constexpr uid_t kNobodyElse = 54321;
  return setrlimit(RLIMIT_NPROC, &limit) == 0 &&
         (geteuid() != 0 || setresuid(kNobodyElse, kNobodyElse, kNobodyElse) == 0);
}

}  // namespace

TEST_CASE("parallel_for visits every index once, in pieces that do not depend on the threads") {
  for (const int threads : {1, 2, 7}) {
    const Threads guard(threads);
    CHECK(num_threads() == threads);
    for (const int64_t size : {0, 1, 5, 1000, 100'003}) {
      for (const int64_t grain : {1, 7, 4096}) {
        if (size / grain > 20'000) continue;
        std::vector<int> visits(size_t(size), 0);
        std::atomic<bool> even{true};
        parallel_for(size, grain, [&](int64_t begin, int64_t end) {
          if (begin % grain != 0 || (end - begin != grain && end != size)) even = false;
          for (int64_t i = begin; i < end; ++i) ++visits[size_t(i)];
        });
        CHECK(even);
        CHECK(std::accumulate(visits.begin(), visits.end(), int64_t(0)) == size);
        CHECK((size == 0 || *std::min_element(visits.begin(), visits.end()) == 1));
      }
    }
  }
}

TEST_CASE("work is spread over the threads") {
  const Threads guard(3);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  std::atomic<int> arrived{0};
  parallel_chunks(3, [&](int64_t) {
    {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    }
    // Each chunk waits for the others: a single thread would never get past the first.
    for (++arrived; arrived < 3;) std::this_thread::yield();
  });
  CHECK(seen.size() == 3);
}

TEST_CASE("the first exception reaches the caller, and the next loop works") {
  for (const int threads : {1, 4}) {
    const Threads guard(threads);
    CHECK_THROWS_WITH(
        parallel_chunks(1000, [](int64_t chunk) { TAPER_CHECK(chunk != 17, "chunk {}", chunk); }),
        "chunk 17");
    std::atomic<int64_t> sum{0};
    parallel_chunks(100, [&](int64_t chunk) { sum += chunk; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("loops inside loops and from several threads at once") {
  const Threads guard(4);
  std::atomic<int64_t> count{0};
  parallel_chunks(
      8, [&](int64_t) { parallel_for(100, 3, [&](int64_t begin, int64_t end) { count += end - begin; }); });
  CHECK(count == 800);
  count = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat) parallel_chunks(10, [&](int64_t) { ++count; });
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(count == 4 * 200 * 10);
}

TEST_CASE("the number of threads is checked") {
  CHECK_THROWS_WITH(set_num_threads(0), "threads must be between 1 and 1024, got 0");
  CHECK_THROWS_AS(set_num_threads(1025), Error);
}

TEST_CASE("the number of threads cannot be changed inside of a loop") {
  for (const int threads : {1, 3}) {
    const Threads guard(threads);
    for (const int64_t chunks : {1, 2, 50}) {
      std::atomic<int> refused{0};
      parallel_chunks(chunks, [&](int64_t) {
        for (const int count : {1, 2, 3}) {
          try {
            set_num_threads(count);
          } catch (const Error& error) {
            refused += std::string(error.what()).find("inside of a parallel loop") != std::string::npos;
          }
        }
      });
      CHECK(refused == 3 * chunks);
      CHECK(num_threads() == threads);
    }
    CHECK_THROWS_WITH(
        parallel_chunks(100, [](int64_t) { set_num_threads(2); }),
        "set_num_threads(2): called inside of a parallel loop, which needs its threads; call it "
        "before or after the loop");
    CHECK(threads_in_a_loop() == threads);
    set_num_threads(2);
    CHECK(threads_in_a_loop() == 2);
  }
}

TEST_CASE("a child of fork() has threads of its own") {
  if (!test::kChildrenStartThreads) return;
  const Threads guard(3);
  CHECK(threads_in_a_loop() == 3);
  const test::ChildResult child = test::run_in_child([] {
    TAPER_CHECK(num_threads() == 3 && threads_in_a_loop() == 3, "not 3 threads");
    set_num_threads(2);
    TAPER_CHECK(threads_in_a_loop() == 2, "not 2 threads");
    // The child of a child also starts its own threads.
    const test::ChildResult grandchild = test::run_in_child([] { threads_in_a_loop(); });
    TAPER_CHECK(grandchild.signal == 0 && grandchild.exit_code == 0, "grandchild: {}",
                grandchild.stderr_text);
  });
  CHECK(child.signal == 0);
  CHECK(child.stderr_text.empty());
  CHECK(threads_in_a_loop() == 3);
}

TEST_CASE("fork() while another thread's loop runs") {
  if (!test::kChildrenStartThreads) return;
  const Threads guard(3);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) parallel_chunks(6, [](int64_t) { std::this_thread::yield(); });
  });
  int ended = 0;
  for (int i = 0; i < 20; ++i) {
    const test::ChildResult child = test::run_in_child([] { threads_in_a_loop(); });
    ended += child.signal == 0 && child.exit_code == 0;
  }
  stop = true;
  other.join();
  CHECK(ended == 20);
}

TEST_CASE("a loop that was forked inside of itself ends in the child with an error") {
  const Threads guard(2);
  std::atomic<int> forks{0}, told{0};
  const auto this_thread = std::this_thread::get_id();
  parallel_chunks(2, [&](int64_t) {
    // Each of the two threads has a piece; this one forks.
    static std::atomic<int> arrived;
    for (++arrived; arrived < 2;) std::this_thread::yield();
    if (std::this_thread::get_id() != this_thread || forks++ > 0) return;
    const test::ChildResult child = test::run_in_child([] {
      std::atomic<int> count{0};
      parallel_chunks(5, [&](int64_t) { ++count; });  // in place
      TAPER_CHECK(count == 5, "{} pieces", count.load());
    });
    told += child.signal == 0 && child.exit_code == 0;
  });
  CHECK(told == 1);

  int ends[2];
  REQUIRE(pipe(ends) == 0);
  pid_t child = -1;
  std::string error;
  try {
    parallel_chunks(2, [&](int64_t) {
      static std::atomic<int> arrived;
      for (++arrived; arrived < 2;) std::this_thread::yield();
      if (std::this_thread::get_id() != this_thread) return;
      child = fork();
      if (child == 0) alarm(30);
    });
  } catch (const Error& thrown) {
    error = thrown.what();
  }
  if (child == 0) {
    [[maybe_unused]] const ssize_t written = write(ends[1], error.data(), error.size());
    _exit(0);
  }
  close(ends[1]);
  char text[400] = {};
  CHECK(read(ends[0], text, sizeof text - 1) > 0);
  close(ends[0]);
  CHECK_THAT(text, Catch::Contains("fork() was called inside of it"));
  CHECK(waitpid(child, nullptr, 0) == child);
  CHECK(error.empty());
}

TEST_CASE("where threads cannot be started, fewer compute, with one warning") {
  if (!test::kChildrenStartThreads) return;
  const Threads guard(1);
  const bool is_superuser = geteuid() == 0;
  const test::ChildResult child = test::run_in_child([&] {
    TAPER_CHECK(limit_threads(is_superuser ? 3 : 1), "the system does not let a test limit its threads");
    const Warnings warnings;
    set_num_threads(8);
    std::atomic<int64_t> sum{0};
    for (int repeat = 0; repeat < 3; ++repeat) parallel_chunks(100, [&](int64_t chunk) { sum += chunk; });
    TAPER_CHECK(sum == 3 * 4950, "the sum is {}", sum.load());
    TAPER_CHECK(num_threads() == (is_superuser ? 3 : 1), "{} threads", num_threads());
    TAPER_CHECK(threads_in_a_loop() == num_threads(), "not all of them compute");
    TAPER_CHECK(warnings.texts.size() == 1, "{} warnings", warnings.texts.size());
    dprintf(STDERR_FILENO, "%s", warnings.texts[0].c_str());
  });
  CHECK(child.signal == 0);
  CHECK(child.exit_code == 0);
  CHECK_THAT(child.stderr_text,
             Catch::Contains(is_superuser ? "3 of 8 compute threads could be started (Resource"
                                          : "1 of 8 compute threads could be started"));
}

TEST_CASE("Philox-4x32-10 gives the published test vectors") {
  // From the known-answer file of the authors' Random123 library.
  const auto draw = [](uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    const Philox philox{uint64_t(k1) << 32 | k0, uint64_t(c3) << 32 | c2};
    return philox(uint64_t(c1) << 32 | c0);
  };
  CHECK(draw(0, 0, 0, 0, 0, 0) == RandomBits{{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  const uint32_t all = 0xffffffff;
  CHECK(draw(all, all, all, all, all, all) == RandomBits{{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  CHECK(draw(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0) ==
        RandomBits{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("uniform numbers stay below one") {
  CHECK(uniform_float(0) == 0);
  CHECK(uniform_float(UINT32_MAX) < 1);
  CHECK(uniform_double(UINT32_MAX, UINT32_MAX) < 1);
  CHECK(uniform_double(0, 0) == 0);
}

TEST_CASE("a generator's state can be saved and restored") {
  Generator generator(5);
  CHECK(generator.reserve(3).first == GeneratorState{5, 0});
  const GeneratorState state = generator.state();
  CHECK(state == GeneratorState{5, 3});
  CHECK(generator.reserve(10).first == state);
  generator.set_state(state);
  CHECK(generator.reserve(1).first == state);
  generator.manual_seed(6);
  CHECK(generator.state() == GeneratorState{6, 0});
  const GeneratorState before = default_generator().state();
  manual_seed(77);
  CHECK(default_generator().state() == GeneratorState{77, 0});
  default_generator().set_state(before);
}

TEST_CASE("threads that share a generator get ranges that do not overlap") {
  Generator generator(1);
  std::vector<std::vector<uint64_t>> firsts(4);
  std::vector<std::thread> threads;
  for (auto& own : firsts) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) own.push_back(generator.reserve(3).first.counter);
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<uint64_t> all;
  for (const auto& own : firsts) all.insert(own.begin(), own.end());
  CHECK(all.size() == 4000);
  CHECK(*all.rbegin() == 3 * 3999);
}
