// What was measured outlives the process, is shared by processes that run at once, and survives a bad file.

#include "taper/core/algorithm_file.h"

#include <fstream>
#include <sstream>

#include "child_process.h"
#include "taper/core/algorithm_cache.h"
#include "taper/core/error.h"
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

Candidate<IndexCall> candidate(const std::string& name, float index) {
  return {.name = name, .cost = index, .run = [index](const IndexCall& call, void*) {
            for (int repeat = 0; repeat < 1000; ++repeat)
              call.y.data<float>()[repeat % call.y.numel()] = index;
          }};
}

std::vector<Candidate<IndexCall>> two_candidates(const IndexCall&) {
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
