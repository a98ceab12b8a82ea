#pragma once
// Runs a function in a forked child and says how it ended, for tests of faults that end the process.

#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace taper::test {

struct ChildResult {
  int signal = 0;     // that ended it; 0: it exited
  int exit_code = 0;  // if it exited
  std::string stderr_text;
};

/// The child exits with 0 when `body` returns. It has this thread alone, so body must not use a thread pool.
template <class Body>
ChildResult run_in_child(Body&& body) {
  int ends[2];
  if (pipe(ends) != 0) return {.exit_code = -1, .stderr_text = "pipe failed"};
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    body();
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
