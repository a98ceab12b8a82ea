// Files that are replaced whole, files that are appended to, and what their paths may name.

#include "taper/core/files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <string>
#include <vector>

#include "child_process.h"
#include "taper/core/base/error.h"
#include "taper/core/files/append_file.h"
#include "taper/core/files/program.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/nn/report/memory_report.h"
#include "taper/nn/report/memory_trace.h"
#include "taper/nn/train/step_log.h"
#include "taper/ops/algorithms/algorithm_file.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

using namespace taper;
using Catch::Contains;

namespace {

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void put(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::vector<std::string> names(std::initializer_list<std::string> list) {
  return list;
}

}  // namespace

TEST_CASE("a file that a process left behind is in nobody's way and goes") {
  const TemporaryFolder folder;
  const std::string orphan = ".taper-0123456789abcdef.tmp";
  put(folder / orphan, "half a fi");
  write_file_atomically(folder / "s.json", "whole");
  CHECK(folder.files() == names({"s.json"}));
  CHECK(content_of(folder / "s.json") == "whole");
}

TEST_CASE("a process that was killed is in nobody's way") {
  const TemporaryFolder folder;
  const test::ChildResult killed = test::run_in_child([&] {
    AtomicFile file(folder / "s.json");
    file.write("half a fi");
    ::raise(SIGKILL);
  });
  CHECK(killed.signal == SIGKILL);
  CHECK(folder.files().size() == 1);
  AtomicFile::check(folder / "other");
  CHECK(folder.files().empty());
}

TEST_CASE("many processes write into one folder") {
  const TemporaryFolder folder;
  for (int writer = 0; writer < 4; ++writer) {
    if (::fork() != 0) continue;
    bool wrote = true;
    try {
      for (int i = 0; i < 100; ++i) write_file_atomically(folder / std::to_string(i % 3), "whole");
    } catch (const std::exception&) {
      wrote = false;
    }
    ::_exit(wrote ? 0 : 1);
  }
  int failed = 0, status = 0;
  while (::wait(&status) > 0) failed += status != 0 ? 1 : 0;
  CHECK(failed == 0);
  CHECK(folder.files() == names({"0", "1", "2"}));
}

TEST_CASE("only orphans of atomic files are removed") {
  const TemporaryFolder folder;
  const auto others = names({".taper-.tmp", ".taper-0123456789ABCDEF.tmp", ".taper-0123456789abcdef.tmp.bak",
                             ".taper-0123456789abcdefg.tmp", "taper-0123456789abcdef.tmp"});
  for (const std::string& name : others) put(folder / name, "mine");
  {
    AtomicFile first(folder / "a");  // is being written
    first.write("one");
    AtomicFile second(folder / "b");
    second.write("two");
    second.commit();
    AtomicFile::check(folder / "c");
    first.commit();
  }
  CHECK(content_of(folder / "a") == "one");
  CHECK(content_of(folder / "b") == "two");
  CHECK(folder.files().size() == others.size() + 2);
  for (const std::string& name : others) CHECK(content_of(folder / name) == "mine");
}

TEST_CASE("a file that is not committed leaves the old one") {
  const TemporaryFolder folder;
  put(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
  }
  CHECK(content_of(folder / "a") == "old");
  CHECK(folder.files() == names({"a"}));
}

TEST_CASE("links are followed and kept, and so are permissions") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "runs");
  put(folder / "runs/1", "old");
  REQUIRE(::chmod((folder / "runs/1").c_str(), 0604) == 0);
  std::filesystem::create_symlink("runs/1", folder / "latest");
  std::filesystem::create_symlink(folder / "latest", folder / "link");
  std::filesystem::create_symlink("runs/2", folder / "dangling");
  write_file_atomically(folder / "link", "new");
  write_file_atomically(folder / "dangling", "made");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(std::filesystem::is_symlink(folder / "latest"));
  CHECK(std::filesystem::is_symlink(folder / "dangling"));
  CHECK(content_of(folder / "runs/1") == "new");
  CHECK(content_of(folder / "runs/2") == "made");
  struct stat status = {};
  REQUIRE(::stat((folder / "runs/1").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0604);
  CHECK(folder.files() == names({"dangling", "latest", "link", "runs"}));
}

TEST_CASE("whatever the library writes, links to it stay links") {
  const TemporaryFolder folder;
  const auto link = [&](const std::string& name) {
    std::filesystem::create_symlink("real_" + name, folder / name);
    return folder / name;
  };
  save_safetensors(link("weights"), {{"x", ops::ones({2})}});
  save_safetensors(folder / "weights", {{"x", ops::ones({3})}});
  AlgorithmFile(link("algorithms"))
      .add(AlgorithmRecord{.problem = "p",
                           .environment = "e",
                           .winner = "a",
                           .verified = false,
                           .candidates = {{.name = "a", .median_ms = 1, .rejected = {}}}});
  write_chrome_trace(link("trace"), Profile());
  write_memory_report(link("report"), {});
  write_memory_trace(link("memory"), {});
  StepLog(link("log")).on_step_end({});
  for (const char* name : {"weights", "algorithms", "trace", "report", "memory", "log"}) {
    INFO(name);
    CHECK(std::filesystem::is_symlink(folder / name));
    CHECK(std::filesystem::is_regular_file(folder / ("real_" + std::string(name))));
  }
  CHECK(load_safetensors(folder / "real_weights").tensors.at("x").numel() == 3);
}

TEST_CASE("what cannot be written is refused by check() as by the writing") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "runs");
  std::filesystem::create_symlink("nowhere/x", folder / "dangling");
  std::filesystem::create_symlink("circle", folder / "circle");
  for (const char* name : {"runs", "runs/", "nowhere/x", "dangling", "circle", "new/", "."}) {
    INFO(name);
    CHECK_THROWS_AS(AtomicFile::check(folder / name), FileError);
    CHECK_THROWS_AS(AppendFile(folder / name), FileError);
    CHECK_THROWS_WITH(write_file_atomically(folder / name, "x"), Contains(folder / name));
  }
  CHECK_THROWS_AS(AtomicFile::check(""), FileError);
  put(folder / "a", "old");
  AtomicFile::check(folder / "a");
  AtomicFile::check(folder / "new");
  CHECK(content_of(folder / "a") == "old");
  CHECK(folder.files() == names({"a", "circle", "dangling", "runs"}));
}

TEST_CASE("a name as long as names may be can be written") {
  const TemporaryFolder folder;
  const std::string name(255, 'x');
  write_file_atomically(folder / name, "x");
  CHECK(folder.files() == names({name}));
}

TEST_CASE("bytes go through a pipe, which stays one") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const int reader = ::open((folder / "pipe").c_str(), O_RDONLY | O_NONBLOCK);
  AtomicFile::check(folder / "pipe");
  write_file_atomically(folder / "pipe", "whole");
  AppendFile(folder / "pipe").write("more");
  char bytes[16] = {};
  CHECK(::read(reader, bytes, sizeof bytes) == 9);
  CHECK(std::string(bytes) == "wholemore");
  ::close(reader);
  CHECK(std::filesystem::is_fifo(folder / "pipe"));
  CHECK(folder.files() == names({"pipe"}));
}

TEST_CASE("a full device is an error, and stays a device") {
  if (!std::filesystem::is_character_file("/dev/full")) return;
  CHECK_THROWS_WITH(AppendFile("/dev/full").write("x"), Contains("/dev/full: cannot be written: No space"));
  AtomicFile file("/dev/full");
  CHECK_THROWS_WITH(file.write("x"), Contains("No space left"));
  CHECK(std::filesystem::is_character_file("/dev/full"));
}

TEST_CASE("an append file is its writer's alone") {
  const TemporaryFolder folder;
  const std::string log = folder / "log";
  put(log, "old");
  {
    AppendFile file(log);
    CHECK(content_of(log).empty());
    file.write("one\n");
    CHECK_THROWS_WITH(AppendFile(log), Contains("is writing it"));
    file.write("two\n");
    CHECK(content_of(log) == "one\ntwo\n");
  }
  AppendFile(log).write("three\n");
  CHECK(content_of(log) == "three\n");
}

TEST_CASE("an append file that is locked is left as it was") {
  const TemporaryFolder folder;
  put(folder / "log", "theirs");
  const FileDescriptor holder(::open((folder / "log").c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(holder.try_lock() == 0);
  CHECK_THROWS_WITH(AppendFile(folder / "log"), Contains("process") && Contains("name another file"));
  CHECK(content_of(folder / "log") == "theirs");
}

TEST_CASE("paths that name one file are known") {
  const TemporaryFolder folder;
  put(folder / "a", "");
  put(folder / "b", "");
  std::filesystem::create_symlink("a", folder / "link");
  std::filesystem::create_symlink(folder.path(), folder / "here");
  std::filesystem::create_hard_link(folder / "a", folder / "hard");
  const auto same = [&](const std::string& a, const std::string& b) {
    return OutputTarget(folder / a).is_same_file(OutputTarget(folder / b));
  };
  CHECK(same("a", "a"));
  CHECK(same("a", "link"));
  CHECK(same("a", "here/a"));
  CHECK(same("a", "hard"));
  CHECK(same("new", "here/new"));
  CHECK_FALSE(same("a", "b"));
  CHECK_FALSE(same("a", "new"));
  CHECK_FALSE(same("new", "newer"));
  CHECK_FALSE(OutputTarget("/dev/null").is_same_file(OutputTarget("/dev/null")));
}
