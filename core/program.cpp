#include "taper/core/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

namespace taper {
namespace {

const char* program_name = "taper";

/// Whether standard output is a pipe or socket that nobody reads any more.
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

/// How many bytes of `text` are its first character in UTF-8, and which it is; {0, 0} if they are none.
std::pair<size_t, uint32_t> first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {1, first};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return {0, 0};
  uint32_t code = first & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {0, 0};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};  // by length: longer forms are not UTF-8
  const bool is_surrogate = code >= 0xd800 && code < 0xe000;
  if (code < kLeast[length] || code > 0x10ffff || is_surrogate) return {0, 0};
  return {length, code};
}

bool may_stand_in_a_line(uint32_t code) {
  const bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool breaks_line = code == 0x2028 || code == 0x2029;
  const bool turns_direction = code == 0x61c || code == 0x200e || code == 0x200f ||
                               (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return !is_control && !breaks_line && !turns_direction;
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
}

void print_error(std::string_view message) {
  std::fflush(stdout);  // what was printed before comes first where both go to one place
  std::fprintf(stderr, "%s: %s\n", program_name, printable(message).c_str());
}

std::string printable(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const auto [length, code] = first_character(text);
    const bool is_kept = length > 0 && may_stand_in_a_line(code);
    const std::string_view part = text.substr(0, length > 0 ? length : 1);
    if (is_kept) line += part;
    for (const char byte : is_kept ? std::string_view() : part)
      line += fmt::format("\\x{:02x}", uint8_t(byte));
    text.remove_prefix(part.size());
  }
  return line;
}

}  // namespace taper
