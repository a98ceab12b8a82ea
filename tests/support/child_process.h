#pragma once
// Runs a function in a forked child and tells how it ended, for tests of faults that end the process.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

namespace taper::test {

struct ChildResult {
  int signal = 0;     // the signal that ended it; 0: it exited
  int exit_code = 0;  // if it exited
  std::string stderr_text;
};

/// Whether a child may start threads: ThreadSanitizer ends it for that.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kChildrenStartThreads = false;
#else
inline constexpr bool kChildrenStartThreads = true;
#endif

/// Runs `body` in a child, which exits with 0 when `body` returns and with 1 when it throws. The child has
/// this thread alone. SIGALRM ends it after half a minute.
template <class Body>
ChildResult run_in_child(Body&& body) {
  int ends[2];
  if (pipe(ends) != 0) return {.exit_code = -1, .stderr_text = "pipe failed"};
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(30);
    try {
      body();
    } catch (const std::exception& error) {
      dprintf(STDERR_FILENO, "%s\n", error.what());
      _exit(1);
    }
    _exit(0);
  }
  close(ends[1]);
  ChildResult result;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
    result.stderr_text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    result.signal = WTERMSIG(status);
  else
    result.exit_code = WEXITSTATUS(status);
  return result;
}

}  // namespace taper::test
