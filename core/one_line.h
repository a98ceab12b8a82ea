#pragma once
// Texts that came from a file or a library on their way to a terminal or a report.

#include <string>
#include <string_view>

namespace taper {

/// True without control characters, those of ASCII and of Unicode, such as ESC, new lines and changes of the
/// direction of writing.
bool is_one_line(std::string_view text);

/// `text` with spaces for control characters, and with "..." for what is beyond `most_bytes`.
std::string one_line(std::string_view text, size_t most_bytes);

}  // namespace taper
