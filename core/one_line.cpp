#include "taper/core/one_line.h"

namespace taper {
namespace {

/// The length of the control character in UTF-8 at `text`'s beginning; 0 if there is none.
size_t control_character(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  if (byte(0) < 0x20 || byte(0) == 0x7F) return 1;
  if (byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) <= 0x9F) return 2;  // U+0080 to U+009F
  if (byte(0) != 0xE2) return 0;
  const bool separates_or_turns = byte(1) == 0x80 && (byte(2) == 0x8E || byte(2) == 0x8F ||  // U+200E, U+200F
                                                      (byte(2) >= 0xA8 && byte(2) <= 0xAE));  // to U+202E
  const bool isolates = byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9;  // U+2066 to U+2069
  return separates_or_turns || isolates ? 3 : 0;
}

}  // namespace

bool is_one_line(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (control_character(text.substr(i)) > 0) return false;
  return true;
}

std::string one_line(std::string_view text, size_t most_bytes) {
  std::string line;
  for (size_t i = 0; i < text.size();) {
    if (line.size() >= most_bytes) {
      while (!line.empty() && (uint8_t(line.back()) & 0xC0) == 0x80)
        line.pop_back();  // no part of a character
      if (!line.empty() && uint8_t(line.back()) >= 0xC0) line.pop_back();
      return line + "...";
    }
    const size_t control = control_character(text.substr(i));
    line += control > 0 ? ' ' : text[i];
    i += control > 0 ? control : 1;
  }
  return line;
}

}  // namespace taper
