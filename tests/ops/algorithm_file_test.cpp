// What was measured outlives the process, is shared by processes that run at once, and survives a bad file.

#include "taper/ops/algorithms/algorithm_file.h"

#include <sys/stat.h>
#include <sys/time.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <functional>
#include <new>
#include <sstream>
#include <thread>

#include "child_process.h"
#include "taper/core/base/error.h"
#include "taper/core/files/file_lock.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "temporary_folder.h"
#include "warnings.h"

using namespace taper;

namespace {

/// y = index of the candidate that ran.
struct IndexCall {
  Tensor y;
  Problem problem() const { return Problem("index", "forward", {}).add("y", y); }
  std::vector<Tensor*> outputs() { return {&y}; }
};

Algorithm candidate(const std::string& name, float index) {
  return {.name = name, .rank = index, .run = [index](const IndexCall& call, void*) {
            for (int repeat = 0; repeat < 1000; ++repeat)
              call.y.data<float>()[repeat % call.y.numel()] = index;
          }};
}

std::vector<Algorithm> two_candidates(const IndexCall&) {
  return {candidate("one", 1), candidate("two", 2)};
}

/// As a program of its own would: in benchmark mode, with problems of these sizes.
AlgorithmStatistics run_process(const std::string& path, const std::vector<int64_t>& sizes) {
  AlgorithmCache cache;
  cache.set_file(path);
  cache.set_mode(AlgorithmMode::kBenchmark);
  for (const int64_t size : sizes) cache.run(IndexCall{empty({size})}, two_candidates);
  return cache.statistics();
}

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// As a process with "plain" and a candidate that does `second`.
AlgorithmStatistics run_process_with(const std::string& path,
                                     const std::function<void(const IndexCall&)>& second) {
  AlgorithmCache cache;
  cache.set_file(path);
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(IndexCall{empty({1})}, [&](const IndexCall&) {
    return std::vector{candidate("plain", 1),
                       Algorithm{.name = "second", .rank = 2, .run = [&](const IndexCall& call, void*) {
                                   second(call);
                                   call.y.data<float>()[0] = 2;
                                 }}};
  });
  return cache.statistics();
}

/// A file of one record, of the problem of {1} and two_candidates, whose winner and candidates are as given.
std::string file_of(const std::string& winner, const std::string& candidates) {
  const Problem problem = IndexCall{empty({1})}.problem();
  return fmt::format(
      R"({{"format":"taper algorithms","version":1,"records":[{{"problem":"{}","environment":"{}",)"
      R"("winner":"{}","verified":false,"candidates":[{}]}}]}})",
      problem.str(), problem.environment(), winner, candidates);
}

std::string nested(int levels) {
  return std::string(size_t(levels), '[') + std::string(size_t(levels), ']');
}

/// Calls body(0), ..., body(7) in eight processes at once; true if all of them returned.
template <class Body>
bool in_eight_processes(Body&& body) {
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      try {
        body(i);
      } catch (...) {
        _exit(1);
      }
      _exit(0);
    }
    children.push_back(child);
  }
  bool good = true;
  for (const pid_t child : children) {
    int status = 0;
    good = waitpid(child, &status, 0) == child && status == 0 && good;
  }
  return good;
}

}  // namespace

TEST_CASE("a second process begins with what the first one measured") {
  const TemporaryFolder folder;
  const std::string path = folder / "deep/er/algorithms.json";
  const AlgorithmStatistics first = run_process(path, {1, 2, 3, 1});
  CHECK(first.benchmarked == 3);
  CHECK(first.recalled == 0);
  CHECK(first.hits == 1);
  const AlgorithmTable table = AlgorithmFile(path).read();
  REQUIRE(table.size() == 3);

  const test::ChildResult child = test::run_in_child([&] {
    AlgorithmCache cache;
    cache.set_file(path);
    cache.set_mode(AlgorithmMode::kBenchmark);
    const Tensor y = empty({2});
    cache.run(IndexCall{y}, two_candidates);
    const AlgorithmRecord record = cache.decisions()[0];
    const bool same = record.winner == table.at(record.key()).winner &&
                      table.at(record.key()).candidates[1].median_ms == record.candidates[1].median_ms;
    const AlgorithmStatistics statistics = cache.statistics();
    _exit(same && statistics.recalled == 1 && statistics.benchmarked == 0 &&
                  y.data<float>()[0] == (record.winner == "one" ? 1 : 2)
              ? 42
              : 1);
  });
  CHECK(child.signal == 0);
  CHECK(child.exit_code == 42);
}

TEST_CASE("records go through the file unchanged") {
  const TemporaryFolder folder;
  const AlgorithmFile file(folder / "algorithms.json");
  const AlgorithmRecord record{
      .problem = "conv2d \"quoted\"",
      .environment = "H\xC3\xBCllen-CPU, 2 threads",
      .winner = "b",
      .verified = true,
      .candidates = {{.name = "a", .median_ms = 0, .rejected = "wrong result", .is_wrong = true},
                     {.name = "b", .median_ms = 0.1 + 0.2, .rejected = {}}}};
  file.add(record);
  const AlgorithmTable table = file.read();
  REQUIRE(table.size() == 1);
  const AlgorithmRecord& read = table.at(record.key());
  CHECK(read.problem == record.problem);
  CHECK(read.environment == record.environment);
  CHECK(read.winner == "b");
  CHECK(read.verified);
  CHECK(read.candidates[0].rejected == "wrong result");
  CHECK(read.candidates[0].is_wrong);
  CHECK(read.candidates[1].median_ms == 0.1 + 0.2);
  CHECK_FALSE(read.candidates[1].is_wrong);

  CHECK(file.remove());
  CHECK_FALSE(file.remove());
  CHECK(file.read().empty());
}

TEST_CASE("other candidates than those in the file: measured again") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  run_process(path, {1});
  AlgorithmCache cache;
  cache.set_file(path);
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.run(IndexCall{empty({1})}, [](const IndexCall&) {
    return std::vector{candidate("one", 1), candidate("two, version 2", 2)};
  });
  CHECK(cache.statistics().recalled == 0);
  CHECK(cache.statistics().benchmarked == 1);
  CHECK(AlgorithmFile(path).read().size() == 2);
}

TEST_CASE("without a path, nothing is written") {
  const AlgorithmFile none;
  none.add({.problem = "p", .environment = "e", .winner = "w", .verified = false, .candidates = {}});
  CHECK(none.read().empty());
  CHECK_FALSE(none.remove());
  CHECK(run_process("", {1}).benchmarked == 1);
}

TEST_CASE("a damaged or foreign file is set aside with one warning") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  run_process(path, {1, 2});
  const std::string good = text_of(path);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    REQUIRE(text.find(from) != std::string::npos);
    return text.replace(text.find(from), from.size(), to);
  };
  const std::vector<std::string> bad_texts = {"",
                                              "holiday pictures",
                                              std::string("\xFF\x00\xFE", 3),
                                              good.substr(0, good.size() / 2),
                                              "[]",
                                              "{}",
                                              R"({"format": "recipes", "version": 1, "records": []})",
                                              replaced("\"version\": 1", "\"version\": 2"),
                                              replaced("\"winner\"", "\"loser\""),
                                              replaced("\"problem\": \"", "\"problem\": 1, \"x\": \"")};
  for (const std::string& text : bad_texts) {
    INFO(text);
    write(path, text);
    const Warnings warnings;
    const AlgorithmStatistics statistics = run_process(path, {1, 2});
    CHECK(statistics.recalled == 0);
    CHECK(statistics.benchmarked == 2);
    REQUIRE(warnings.texts.size() == 1);
    CHECK_THAT(warnings.texts[0], Catch::StartsWith(path) && Catch::Contains(path + ".damaged"));
    CHECK(text_of(path + ".damaged") == text);
    CHECK(AlgorithmFile(path).read().size() == 2);
  }
}

TEST_CASE("a file whose form is right and whose meaning is not is set aside with one short line") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  const std::string one = R"({"name":"one","median_ms":1})", two = R"({"name":"two","median_ms":2})";
  const std::string header = R"({"format":"taper algorithms","version":1,)";
  write(path, file_of("one", one + "," + two));
  CHECK(run_process(path, {1}).recalled == 1);  // so is a good one
  const std::vector<std::pair<const char*, std::string>> bad = {
      {"all rejected, and the winner is none",
       file_of("nobody", R"({"name":"one","rejected":"x"},{"name":"two","rejected":"x"})")},
      {"the winner is rejected", file_of("one", R"({"name":"one","rejected":"x"},)" + two)},
      {"the winner was left out", file_of("one", R"({"name":"one","left_out":true},)" + two)},
      {"no candidates", file_of("one", "")},
      {"two of one name", file_of("one", one + "," + one)},
      {"a name of two lines", file_of("one", R"({"name":"one\ntwo"})")},
      {"a name of two lines that wins", file_of("one\\ntwo", R"({"name":"one\ntwo"})")},
      {"a name with an escape code", file_of("one", one + R"(,{"name":"two\u001b[2J"})")},
      {"a name that turns the text", file_of("one", one + R"(,{"name":"two\u202e"})")},
      {"a name with a C1 code", file_of("one", one + R"(,{"name":"two\u009b"})")},
      {"no name", file_of("one", one + R"(,{"name":""})")},
      {"less than no time", file_of("one", one + R"(,{"name":"two","median_ms":-1})")},
      {"a deep format", R"({"format":)" + nested(200'000) + "}"},
      {"a deep record", header + R"("records":[)" + nested(200'000) + "]}"},
      {"depth without an end", std::string(200'000, '[')},
      {"a long format", R"({"format":")" + std::string(2'000'000, 'x') + R"("})"},
      {"a long word", std::string(2'000'000, 'x')},
      {"escape codes", "\x1b[2J\x1b]0;"},
      {"a fault of two lines", header + R"("records":[],"faults":[{"problem":"p\nq","environment":"e",)"
                                        R"("algorithm":"a","what":"w"}]})"},
      {"a number out of range", file_of("one", R"({"name":"one","median_ms":1e999},)" + two)},
  };
  for (const auto& [what, text] : bad) {
    CAPTURE(what);
    write(path, text);
    const Warnings warnings;
    const AlgorithmStatistics statistics = run_process(path, {1});
    CHECK(statistics.recalled == 0);
    CHECK(statistics.benchmarked == 1);
    REQUIRE(warnings.texts.size() == 1);
    CHECK_THAT(warnings.texts[0], Catch::StartsWith(path) && Catch::Contains(path + ".damaged"));
    CHECK(warnings.texts[0].size() < 2 * path.size() + 300);
    CHECK(warnings.texts[0].find_first_of("\n\x1b") == std::string::npos);
    CHECK(text_of(path + ".damaged") == text);
    CHECK(run_process(path, {1}).recalled == 1);
    CHECK(warnings.texts.size() == 1);
  }
}

TEST_CASE("reasons of several lines are kept as one, and what cannot be read back is not written") {
  const TemporaryFolder folder;
  const AlgorithmFile file(folder / "algorithms.json");
  AlgorithmRecord record{
      .problem = "p",
      .environment = "e",
      .winner = "a",
      .verified = false,
      .candidates = {{.name = "a", .median_ms = 1, .rejected = {}},
                     {.name = "b", .rejected = "ptxas:\n\x1b[31m" + std::string(5000, 'x')}}};
  file.add(record);
  file.add(AlgorithmFault{"p", "e", "b", "line 1\nline 2"});
  const Warnings warnings;
  const std::string reason = file.read().at(record.key()).candidates[1].rejected;
  CHECK_THAT(reason, Catch::StartsWith("ptxas:\\x0a\\x1b[31mxx") && Catch::EndsWith("x..."));
  CHECK(reason.size() < 600);
  CHECK(file.faults().at(0).what == "line 1\\x0aline 2");
  CHECK(warnings.texts.empty());

  record.winner = "b";
  CHECK_THROWS_AS(file.add(record), Error);
  record.winner = "a";
  record.candidates[0].name = record.winner = "a\nb";
  CHECK_THROWS_AS(file.add(record), Error);
  CHECK_THROWS_AS(file.add(AlgorithmFault{"p", "e", "b\n", "w"}), Error);
  CHECK(file.read().size() == 1);
  AlgorithmCache cache;
  CHECK_THROWS_WITH(
      cache.run(IndexCall{empty({1})}, [](const IndexCall&) { return std::vector{candidate("a\nb", 1)}; }),
      Catch::Contains("the name of candidate 0"));
}

TEST_CASE("records whose names could be run together are not taken for each other") {
  AlgorithmRecord a, b;
  a.problem = "p", a.environment = "e\nx", a.candidates = {{.name = "y", .rejected = {}}};
  b.problem = "p", b.environment = "e",
  b.candidates = {{.name = "x", .rejected = {}}, {.name = "y", .rejected = {}}};
  CHECK(a.key() != b.key());
}

TEST_CASE("what may pass is not remembered for other processes") {
  const std::vector<std::pair<const char*, std::function<void()>>> failures = {
      {"no memory", [] { fail<OutOfMemoryError>("no memory"); }},
      {"no memory for C++", [] { throw std::bad_alloc(); }},
      {"a failed launch", [] { fail("launch failed"); }},
      {"a busy library", [] { fail<AlgorithmUnavailable>("CUDNN_STATUS_ALLOC_FAILED"); }}};
  for (const auto& [what, fails] : failures) {
    CAPTURE(what);
    const TemporaryFolder folder;
    const std::string path = folder / "algorithms.json";
    CHECK(run_process_with(path, [&](const IndexCall&) { fails(); }).benchmarked == 1);
    CHECK(AlgorithmFile(path).read().empty());
    const AlgorithmStatistics next = run_process_with(path, [](const IndexCall&) {});
    CHECK(next.recalled == 0);
    CHECK(next.benchmarked == 1);
    const AlgorithmTable table = AlgorithmFile(path).read();
    REQUIRE(table.size() == 1);
    CHECK(table.begin()->second.candidates[1].rejected.empty());
  }
}

TEST_CASE("what will not pass is remembered") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  int tries = 0;
  const auto refuse = [&](const IndexCall&) {
    ++tries;
    fail<AlgorithmFailed>("not supported");
  };
  CHECK(run_process_with(path, refuse).benchmarked == 1);
  CHECK(run_process_with(path, refuse).recalled == 1);
  CHECK(tries == 1);
  CHECK(AlgorithmFile(path).read().begin()->second.candidates[1].rejected == "not supported");
}

TEST_CASE("while another process holds the lock, a program goes on without writing") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  const FileLock held(path);  // another open file: as another process
  struct sigaction before = {}, action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  REQUIRE(sigaction(SIGALRM, &action, &before) == 0);
  const itimerval soon = {.it_interval = {0, 0}, .it_value = {0, 300'000}};
  REQUIRE(setitimer(ITIMER_REAL, &soon, nullptr) == 0);
  const Warnings warnings;
  const AlgorithmStatistics statistics = run_process(path, {1, 2, 3, 4, 1});
  sigaction(SIGALRM, &before, nullptr);
  CHECK(statistics.benchmarked == 4);
  CHECK(statistics.hits == 1);
  REQUIRE(warnings.texts.size() == 1);  // and one wait
  CHECK_THAT(warnings.texts[0], Catch::StartsWith(path + ".lock: cannot be locked: ") &&
                                    Catch::Contains("; measurements are kept in memory"));
  CHECK(folder.files() == std::vector<std::string>{"algorithms.json.lock"});
}

TEST_CASE("the folder is made for the user alone, and one that others may write to is refused") {
  const TemporaryFolder folder;
  const mode_t before = umask(0);
  run_process(folder / "cache/taper/algorithms.json", {1});
  umask(before);
  for (const char* made : {"cache", "cache/taper"}) {
    struct stat status = {};
    REQUIRE(stat((folder / made).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0700);
  }
  REQUIRE(chmod((folder / "cache/taper").c_str(), 0777) == 0);
  const Warnings warnings;
  const AlgorithmStatistics statistics = run_process(folder / "cache/taper/algorithms.json", {1, 2});
  CHECK(statistics.recalled == 0);  // what is there may be anybody's
  CHECK(statistics.benchmarked == 2);
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("everybody may write there"));
}

TEST_CASE("where nothing can be written, one warning and measurements in memory") {
  const TemporaryFolder folder;
  write(folder / "file", "");
  for (const std::string& path : {folder / "file/algorithms.json", folder.path(), std::string("/dev/null")}) {
    INFO(path);
    const Warnings warnings;
    const AlgorithmStatistics statistics = run_process(path, {1, 2, 1});
    CHECK(statistics.benchmarked == 2);
    CHECK(statistics.hits == 1);
    CHECK(warnings.texts.size() == 1);
  }
  CHECK(folder.files() == std::vector<std::string>{"file"});
}

TEST_CASE("eight processes writing together lose nothing") {
  const TemporaryFolder folder;
  const std::string path = folder / "new/algorithms.json";
  CHECK(in_eight_processes([&](int i) {
    std::vector<int64_t> sizes = {1};  // all of them measure this one
    for (int k = 0; k < 5; ++k) sizes.push_back(10 + 5 * i + k);
    run_process(path, sizes);
  }));
  CHECK(AlgorithmFile(path).read().size() == 41);
  CHECK(run_process(path, {1, 10, 29, 49}).recalled == 4);
  // No temporary file is left.
  std::vector<std::string> names;
  for (const std::string& name : folder.files()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"new"});
  CHECK(std::filesystem::exists(path + ".lock"));
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "new"), {}) == 2);
}

TEST_CASE("while others put the file aside, it is there or missing, and never unreadable") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  run_process(path, {1});
  const std::jthread other([&](const std::stop_token& end) {
    while (!end.stop_requested()) {
      std::rename(path.c_str(), (path + ".damaged").c_str());
      std::rename((path + ".damaged").c_str(), path.c_str());
    }
  });
  int times_there = 0;
  for (int i = 0; i < 3000; ++i) {
    const AlgorithmTable table = AlgorithmFile(path).read();  // throws if it is unreadable
    REQUIRE(table.size() <= 1);
    times_there += int(table.size());
  }
  CHECK(times_there > 0);
}

TEST_CASE("eight processes that find a damaged file: one sets it aside, nothing is lost") {
  const TemporaryFolder folder;
  const std::string path = folder / "algorithms.json";
  write(path, "{\"format\": ");
  CHECK(in_eight_processes([&](int i) {
    set_warning_handler([](std::string_view) {});
    run_process(path, {10 + 2 * i, 11 + 2 * i});
  }));
  CHECK(AlgorithmFile(path).read().size() == 16);
  CHECK(folder.files() ==
        std::vector<std::string>{"algorithms.json", "algorithms.json.damaged", "algorithms.json.lock"});
  CHECK(text_of(path + ".damaged") == "{\"format\": ");
}

TEST_CASE("which file is the default") {
  const auto with = [](const char* own, const char* xdg, const char* home) {
    const auto set = [](const char* name, const char* value) {
      value ? setenv(name, value, 1) : unsetenv(name);
    };
    set("TAPER_ALGORITHM_CACHE", own);
    set("XDG_CACHE_HOME", xdg);
    set("HOME", home);
    std::fputs(default_algorithm_file().c_str(), stderr);
  };
  const auto file = [&](const char* own, const char* xdg, const char* home) {
    return test::run_in_child([&] { with(own, xdg, home); }).stderr_text;
  };
  CHECK(file("/own.json", "/xdg", "/home/me") == "/own.json");
  CHECK(file("", "/xdg", "/home/me").empty());
  CHECK(file(nullptr, "/xdg", "/home/me") == "/xdg/taper/algorithms.json");
  CHECK(file(nullptr, "", "/home/me") == "/home/me/.cache/taper/algorithms.json");
  CHECK(file(nullptr, nullptr, "/home/me") == "/home/me/.cache/taper/algorithms.json");
  CHECK(file(nullptr, nullptr, nullptr).empty());
}
