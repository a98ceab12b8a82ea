// Locks end when their process does, and nobody waits for one for ever.

#include "taper/core/files/file_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>

#include "skip.h"
#include "taper/core/base/error.h"
#include "taper/core/files/private_folder.h"
#include "temporary_folder.h"

using namespace taper;
using Catch::Contains;

namespace {

/// A process that holds the lock of `path` until it is ended.
class Holder {
 public:
  explicit Holder(const std::string& path) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      std::signal(SIGTERM, SIG_DFL);
      alarm(60);
      const FileLock lock(path);
      [[maybe_unused]] const ssize_t told = write(ends[1], "x", 1);
      for (;;) pause();
    }
    char ready = 0;
    REQUIRE(read(ends[0], &ready, 1) == 1);
    close(ends[0]);
    close(ends[1]);
  }
  ~Holder() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string failure(const std::string& path, double patience_seconds) {
  try {
    const FileLock lock(path, patience_seconds);
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("who waits for a lock gives up, and names its holder") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  {
    const Holder holder(path);
    std::string text;
    const double seconds = seconds_of([&] { text = failure(path, 0.2); });
    CHECK(seconds >= 0.2);
    CHECK(seconds < 5);
    CHECK_THAT(text,
               Catch::StartsWith(path + ".lock: cannot be locked: ") && Contains("has held it for 0.2 s"));
    const bool told = std::ifstream("/proc/locks").good();
    CHECK_THAT(text, Contains(told ? "process " + std::to_string(holder.pid()) + " (" : "another process"));
  }
  CHECK(failure(path, 5).empty());  // its process is gone
}

TEST_CASE("a lock that is let go of in time is had") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  Holder holder(path);
  const pid_t killer = fork();
  if (killer == 0) {
    usleep(100'000);
    kill(holder.pid(), SIGKILL);
    _exit(0);
  }
  CHECK(failure(path, 20).empty());
  CHECK(waitpid(killer, nullptr, 0) == killer);
}

TEST_CASE("a signal ends the wait, though its handler restarts calls") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const Holder holder(path);
  struct sigaction before = {}, action = {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  REQUIRE(sigaction(SIGALRM, &action, &before) == 0);
  const itimerval soon = {.it_interval = {0, 100'000}, .it_value = {0, 100'000}}, never = {};
  REQUIRE(setitimer(ITIMER_REAL, &soon, nullptr) == 0);
  std::string text;
  CHECK(seconds_of([&] { text = failure(path, 20); }) < 10);
  CHECK_THAT(text, Contains("a signal ended the wait"));
  REQUIRE(setitimer(ITIMER_REAL, &never, nullptr) == 0);
  sigaction(SIGALRM, &before, nullptr);
}

TEST_CASE("a lock is no link") {
  const TemporaryFolder folder;
  REQUIRE(symlink((folder / "target").c_str(), (folder / "file.lock").c_str()) == 0);
  CHECK(failure(folder / "file", 1) == folder / "file.lock: cannot be locked: it is a link");
  CHECK(folder.files() == std::vector<std::string>{"file.lock"});
}

TEST_CASE("folders of caches are the user's alone") {
  const TemporaryFolder folder;
  const mode_t before = umask(0);
  make_private_folder(folder / "a/b/c");
  umask(before);
  for (const char* made : {"a", "a/b", "a/b/c"}) CHECK(mode_of(folder / made) == 0700);
  make_private_folder(folder / "a/b/c");  // it is there
  check_private_folder(folder / "missing");

  REQUIRE(chmod((folder / "a/b").c_str(), 0777) == 0);
  CHECK_THROWS_WITH(check_private_folder(folder / "a/b"), Contains("a/b: everybody may write there"));
  CHECK_THROWS_AS(make_private_folder(folder / "a/b"), FileError);
  CHECK(mode_of(folder / "a/b") == 0777);
  CHECK_THROWS_AS(make_private_folder("/proc/taper"), FileError);
  check_private_folder("/");  // the superuser's
}

TEST_CASE("a folder of another user is refused") {
  const TemporaryFolder folder;
  if (geteuid() != 0) {
    skip("only the superuser can give a folder to somebody else");
    return;
  }
  REQUIRE(chown(folder.path().c_str(), 54321, 54321) == 0);
  CHECK_THROWS_WITH(check_private_folder(folder.path()),
                    Contains(": belongs to user 54321, and this is user 0"));
}
