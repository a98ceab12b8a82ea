// Candidates that end processes, or the GPU they work on: remembered, and not tried again.

#include <csignal>
#include <fstream>
#include <sstream>

#include "child_process.h"
#include "double_call.h"
#include "taper/core/base/parallel.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/sim.h"
#include "taper/ops/algorithms/algorithm_trials.h"
#include "taper/ops/copy/copy.h"
#include "temporary_folder.h"
#include "warnings.h"

using namespace taper;
using Catch::Contains;

namespace {

__global__ void double_all(const float* x, float* y, int count) {
  for (int i = 0; i < count; ++i) y[i] = 2 * x[i];
}

__global__ void read_wildly(const float* x, float* y, int) {
  y[0] = x[1 << 30];
}

using List = std::vector<Algorithm>;

Algorithm kernel(const std::string& name, double cost, void (*function)(const float*, float*, int),
                 int* runs = nullptr) {
  return {.name = name, .rank = cost, .run = [function, runs](const DoubleCall& call, void*) {
            if (runs != nullptr) ++*runs;
            gpu::launch("double_kernel", function, {.grid = 1, .block = 1}, call.x.data<float>(),
                        call.y.data<float>(), int(call.x.numel()));
          }};
}

DoubleCall gpu_call() {
  return {random_tensor({64}, kFloat32).to(kCUDA), empty({64}, {.device = kCUDA})};
}

/// Stands for a new process, which begins with the GPU as the system gives it.
struct Process {
  Process(const std::string& file, AlgorithmMode mode) {
    gpu::sim::reset();
    gpu::sim::set_faults_are_final(true);
    cache.set_file(file);
    cache.set_mode(mode);
  }
  ~Process() { gpu::sim::reset(); }
  void run(const DoubleCall& call, const List& list) {
    cache.run(call, [&](const DoubleCall&) { return list; });
  }
  AlgorithmCache cache;
};

/// Runs a benchmark of "deadly" beside "plain" in a child process. Returns the signal that ended it; "deadly"
/// raises `signal`.
int signal_that_ended(const std::string& file, int signal) {
  return test::run_in_child([&] {
           set_num_threads(1);
           AlgorithmCache cache;
           cache.set_file(file);
           cache.set_mode(AlgorithmMode::kBenchmark);
           std::signal(signal, SIG_DFL);  // and not the tests' own handler
           const auto deadly = [signal](const DoubleCall&, void*) { std::raise(signal); };
           cache.run(double_call(), [&](const DoubleCall&) {
             return List{
                 {.name = "plain", .rank = 1, .run = [](const DoubleCall& c, void*) { write_doubled(c); }},
                 {.name = "deadly", .rank = 2, .run = deadly}};
           });
         })
      .signal;
}

/// Stands for a process in which "deadly" does no harm. Counts how often it runs.
void run_process_with(const std::string& file, int& tried) {
  AlgorithmCache cache;
  cache.set_file(file);
  cache.set_mode(AlgorithmMode::kBenchmark);
  const auto run = [](const DoubleCall& c, void*) { write_doubled(c); };
  cache.run(double_call(), [&](const DoubleCall&) {
    return List{{.name = "plain", .rank = 1, .run = run},
                {.name = "deadly", .rank = 2, .run = [&](const DoubleCall& c, void*) {
                   ++tried;
                   write_doubled(c);
                 }}};
  });
}

/// Returns how often the notes in `folder` name this candidate.
size_t names_in_note(const TemporaryFolder& folder, const std::string& name) {
  size_t found = 0;
  for (const std::string& file : folder.files()) {
    if (file.find(".trial-") == file.npos) continue;
    std::ostringstream text;
    text << std::ifstream(folder / file).rdbuf();
    found += text.str().find(name) != std::string::npos;
  }
  return found;
}

}  // namespace

TEST_CASE("a candidate that loses the GPU is named, remembered and not tried again in any mode") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  int wild_runs = 0;
  const List list = {kernel("plain", 2, double_all), kernel("wild", 1, read_wildly, &wild_runs)};
  {
    Process first(file, AlgorithmMode::kBenchmark);
    const DoubleCall call = gpu_call();
    CHECK_THROWS_AS(first.run(call, list), DeviceLostError);
    CHECK(wild_runs == 1);
    try {
      first.run(call, list);  // all is lost here, and says why
      FAIL("it runs");
    } catch (const DeviceLostError& error) {
      CHECK_THAT(error.what(), Contains("cuda:0 is lost to this process") && Contains("illegal read from"));
    }
  }
  const std::vector<AlgorithmFault> faults = AlgorithmFile(file).faults();
  REQUIRE(faults.size() == 1);
  CHECK(faults[0].algorithm == "wild");
  CHECK_THAT(faults[0].problem, Contains("double forward x=f32[64]"));
  CHECK_THAT(faults[0].what, Contains("illegal read from"));
  for (const AlgorithmMode mode : {AlgorithmMode::kBenchmark, AlgorithmMode::kHeuristic}) {
    Process next(file, mode);
    const DoubleCall call = gpu_call();
    next.run(call, list);
    CHECK(ops::to_vector<float>(call.y)[3] == 2 * ops::to_vector<float>(call.x)[3]);
    CHECK(winner(next.cache) == "plain");
    CHECK(wild_runs == 1);
  }
  CHECK(AlgorithmFile(file).forget_faults() == 1);
  Process after(file, AlgorithmMode::kHeuristic);
  after.run(gpu_call(), list);
  CHECK(wild_runs == 2);
}

TEST_CASE("a library that only says that it failed is not rejected where the device is lost") {
  const AlgorithmMode mode = GENERATE(AlgorithmMode::kHeuristic, AlgorithmMode::kBenchmark);
  const TemporaryFolder folder;
  Process process(folder / "algorithms.json", mode);
  const auto fail_as_library = [](const DoubleCall& call, void*) {
    gpu::launch("wild", read_wildly, {.grid = 1, .block = 1}, call.x.data<float>(), call.y.data<float>(), 1);
    try {
      gpu::synchronize();
    } catch (const Error&) {
      fail<AlgorithmFailed>("CUDNN_STATUS_EXECUTION_FAILED");
    }
  };
  const Warnings warnings;
  CHECK_THROWS_AS(process.run(gpu_call(), {kernel("plain", 2, double_all),
                                           {.name = "library", .rank = 1, .run = fail_as_library}}),
                  DeviceLostError);
  CHECK(warnings.texts.empty());
  CHECK(process.cache.statistics().rejected == 0);
  CHECK(AlgorithmFile(folder / "algorithms.json").faults().size() ==
        (mode == AlgorithmMode::kBenchmark ? 1 : 0));
}

TEST_CASE("a fault of earlier work is no candidate's") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  Process process(file, AlgorithmMode::kBenchmark);
  const DoubleCall call = gpu_call();
  gpu::launch("earlier", read_wildly, {.grid = 1, .block = 1}, call.x.data<float>(), call.y.data<float>(), 1);
  int runs = 0;
  CHECK_THROWS_WITH(
      process.run(call, {kernel("plain", 2, double_all, &runs), kernel("other", 1, double_all, &runs)}),
      Contains("kernel earlier") && !Contains("was tried"));
  CHECK(runs == 0);
  CHECK(AlgorithmFile(file).faults().empty());
}

TEST_CASE("the error of the benchmark names the problem and the candidate") {
  const TemporaryFolder folder;
  Process process(folder / "algorithms.json", AlgorithmMode::kBenchmark);
  CHECK_THROWS_WITH(process.run(gpu_call(), {kernel("plain", 2, double_all), kernel("wild", 1, read_wildly)}),
                    Contains("double forward x=f32[64]") && Contains("wild was tried, and cuda:0 is lost") &&
                        Contains("it will not be tried again"));
}

TEST_CASE("the plainest candidate is tried whatever happened to it, for something has to compute") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  const DoubleCall call = gpu_call();
  const List list = {kernel("plain", 2, double_all), kernel("other", 1, double_all)};
  for (const char* name : {"plain", "other"})
    AlgorithmFile(file).add(
        AlgorithmFault{call.problem().str(), call.problem().environment(), name, "crashed"});
  Process process(file, AlgorithmMode::kHeuristic);
  process.run(call, list);
  CHECK(winner(process.cache) == "plain");
}

TEST_CASE("a candidate that ends two processes, or is ended with them, is left out by the third") {
  const int signal = GENERATE(SIGKILL, SIGABRT, SIGSEGV);
  const ThreadsGuard threads(1);  // as the child's: they are part of the environment
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  CHECK(signal_that_ended(file, signal) == signal);
  CHECK(folder.files().size() == 1);  // the note
  CHECK(signal_that_ended(file, signal) == signal);
  REQUIRE(AlgorithmFile(file).faults().size() == 1);
  CHECK(AlgorithmFile(file).faults()[0].suspected);

  const Warnings warnings;
  int tried = 0;
  for (int i = 0; i < 2; ++i) run_process_with(file, tried);
  CHECK(tried == 0);
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0],
             Contains("deadly ended two processes that tried it") && Contains("--forget-faults"));
  CHECK(folder.files() == std::vector<std::string>{"algorithms.json", "algorithms.json.lock"});
}

TEST_CASE("a candidate that was being tried when one process ended is tried once more, and acquitted") {
  const ThreadsGuard threads(1);
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  CHECK(signal_that_ended(file, SIGKILL) == SIGKILL);
  const Warnings warnings;
  int tried = 0;
  run_process_with(file, tried);
  CHECK(tried > 0);
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Contains("a process ended while it tried deadly, which is tried once more"));
  CHECK(AlgorithmFile(file).faults().empty());
}

TEST_CASE("of several that were being made ready when a process ended, each is made ready by itself") {
  const ThreadsGuard threads(2);
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  const DoubleCall call = double_call();
  for (const char* name : {"a", "b"})
    AlgorithmFile(file).add(
        AlgorithmFault{call.problem().str(), call.problem().environment(), name, "crashed", true});
  AlgorithmCache cache;
  cache.set_file(file);
  cache.set_mode(AlgorithmMode::kBenchmark);
  std::atomic<int> inside{0}, most{0};
  const auto prepare = [&] {
    most = std::max<int>(most, ++inside);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    --inside;
  };
  const auto run = [](const DoubleCall& c, void*) { write_doubled(c); };
  cache.run(call, [&](const DoubleCall&) {
    return List{{.name = "plain", .rank = 1, .run = run},
                {.name = "a", .rank = 2, .run = run, .prepare = prepare},
                {.name = "b", .rank = 3, .run = run, .prepare = prepare}};
  });
  CHECK(most == 1);
  CHECK(AlgorithmFile(file).faults().empty());
}

TEST_CASE("while a process lives its trials are nobody's faults, and a good end leaves no note") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  size_t most_notes = 0, last_notes = 0, taken = 0;
  AlgorithmCache cache;
  cache.set_file(file);
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(double_call(), [&](const DoubleCall&) {
    return List{{.name = "plain", .rank = 1, .run = [](const DoubleCall& c, void*) { write_doubled(c); }},
                {.name = "watched", .rank = 2, .run = [&](const DoubleCall& call, void*) {
                   last_notes = names_in_note(folder, "watched");
                   most_notes = std::max(most_notes, last_notes);
                   taken += unfinished_trials(file).size();
                   write_doubled(call);
                 }}};
  });
  CHECK(most_notes == 1);
  CHECK(last_notes == 0);  // its first runs are over
  CHECK(taken == 0);
  CHECK(folder.files() == std::vector<std::string>{"algorithms.json", "algorithms.json.lock"});
}

TEST_CASE("notes that are no notes are taken away") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  int number = 0;
  for (const char* text : {"", "[", "{}", "[1]", "[[\"a\",\"b\",\"c\"]]", "[[\"a\",\"b\",3,\"d\"]]"})
    std::ofstream(file + ".trial-" + std::to_string(++number)) << text;
  CHECK(unfinished_trials(file).empty());
  CHECK(folder.files() == std::vector<std::string>{"algorithms.json.lock"});
}

TEST_CASE("an injected failure of a launch or an allocation is not remembered for other processes") {
  const bool launch = GENERATE(true, false);
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  const DoubleCall call = gpu_call();
  List list = {kernel("plain", 1, double_all), kernel("other", 2, double_all)};
  list[1].workspace_bytes = 1000;
  {
    Process first(file, AlgorithmMode::kBenchmark);
    if (launch)
      gpu::sim::fail_call(gpu::sim::FaultPoint::kLaunch, 1);
    else
      gpu::caching_allocator(0).fail_request(2);  // the first is for a copy of the output
    first.run(call, list);
    CHECK(first.cache.decisions()[0].candidates[launch ? 0 : 1].may_pass);
  }
  CHECK(AlgorithmFile(file).read().empty());
  Process next(file, AlgorithmMode::kBenchmark);
  next.run(call, list);
  CHECK(next.cache.statistics().benchmarked == 1);
  const AlgorithmTable table = AlgorithmFile(file).read();
  REQUIRE(table.size() == 1);
  for (const AlgorithmTiming& timing : table.begin()->second.candidates) CHECK(timing.rejected.empty());
}

TEST_CASE("a note with names of several lines does no harm") {
  const TemporaryFolder folder;
  const std::string file = folder / "algorithms.json";
  std::ofstream(file + ".trial-1") << R"([["p\nq","e","a","w"],["p","e","a\u001b","w"],["p","e","","w"]])";
  CHECK(unfinished_trials(file).empty());
}
