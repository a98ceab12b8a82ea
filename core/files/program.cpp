#include "taper/core/files/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include "taper/core/base/cpu_level.h"
#include "taper/core/base/error.h"

namespace taper {
namespace {

const char* program_name = "taper";

/// Returns whether standard output is a pipe or socket that nobody reads any more.
bool reader_is_gone() {
  pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

void check_standard_output() {
  errno = 0;
  const bool failed = std::fflush(stdout) != 0;
  if ((!failed && std::ferror(stdout) == 0) || reader_is_gone()) return;
  print_error("standard output could not be written" +
              (failed ? ": " + std::generic_category().message(errno) : ""));
  std::_Exit(1);
}

}  // namespace

void start_program(const char* name) {
  program_name = name;
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    [[maybe_unused]] const int opened = ::open("/dev/null", O_RDWR);  // the lowest number that is free: fd
  }
  std::signal(SIGXFSZ, SIG_IGN);
  std::atexit(check_standard_output);
  try {
    cpu_level();
  } catch (const Error& error) {
    print_error(error.what());
    std::exit(2);
  }
}

void print_error(std::string_view message) {
  std::fflush(stdout);  // earlier printed output comes first if both go to one place
  std::fprintf(stderr, "%s: %s\n", program_name, printable(message).c_str());
}

}  // namespace taper
