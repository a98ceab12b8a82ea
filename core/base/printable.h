#pragma once
// Text from files and of file names, made safe to show: a terminal obeys control characters, and a name can
// hold any. Error and warn() pass their messages through printable(). Programs do it for what they print.

#include <string>
#include <string_view>

namespace taper {

/// Returns `text` as one line of valid UTF-8 in which nothing steers a terminal or reorders a line. Control
/// characters and bytes that are not UTF-8 become escapes like \x1b. Line separators and marks of writing
/// direction become escapes like \u202e. Text that is printable already stays as it is.
std::string printable(std::string_view text);

/// Returns printable(text), cut to its beginning and "..." where it has more than `most_bytes` bytes. The
/// result has at most `most_bytes` bytes.
std::string shortened(std::string_view text, size_t most_bytes);

/// Returns whether printable() leaves the text as it is.
bool is_printable(std::string_view text);

/// Returns whether all of `text` is UTF-8.
bool is_utf8(std::string_view text);

/// Returns a name from a file for use in a message: printable, in quotes, cut after 80 bytes.
std::string quote_name(std::string_view name);

}  // namespace taper
