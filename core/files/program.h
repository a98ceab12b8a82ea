#pragma once
// What every program owes its caller. This is the only part of the library that prints and ends a process; it
// belongs to main.

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "taper/core/base/printable.h"

namespace taper {

/// The first line of main. `name` begins the messages and must outlive the program.
///
/// - Opens standard input, output and error on /dev/null where the caller has closed them (`>&-`, some
///   daemons). Else the first file that the program opens would get the number of its output.
/// - Makes a file that outgrows its limit (SIGXFSZ) an error of the write, as on a full disk, instead of the
///   end of the process.
/// - At exit, if standard output could not be written, says so and makes the exit code 1. Not if its reader
///   went away, as after `| head -1`: the reader has what it wanted.
/// - Ends the program with code 2 if TAPER_CPU is wrong (core/base/cpu_level.h).
void start_program(const char* name);

/// As fmt::print on standard output, but never throws. A failed write is reported at exit.
template <class... Args>
void print_out(fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), stdout);
}

/// Prints "NAME: MESSAGE" as one line on standard error; see core/base/printable.h.
void print_error(std::string_view message);

}  // namespace taper
