#pragma once
// Text from files and of file names, made safe to show: a terminal obeys control characters, and a name can
// hold any. Error and warn() pass their messages through printable(); programs do so with what they print.

#include <string>
#include <string_view>

namespace taper {

/// The text with every character that would steer a terminal or reorder a line written as an escape: control
/// characters and bytes that are not UTF-8 as \x1b, line separators and marks of writing direction as \u202e.
/// Returns one line of valid UTF-8. What is already printable stays as it is.
std::string printable(std::string_view text);

/// printable(text) where it has at most `most_bytes`, else its beginning and "...", together no more than
/// that.
std::string shortened(std::string_view text, size_t most_bytes);

/// Whether printable() leaves the text as it is.
bool is_printable(std::string_view text);

/// A name from a file, as it stands in a message: printable, in quotes, cut after 80 bytes.
std::string quote_name(std::string_view name);

}  // namespace taper
