#include "taper/core/base/printable.h"

#include <fmt/format.h>

#include <cstdint>

namespace taper {
namespace {

/// The first character of a text. Its length is 0 if the bytes are not UTF-8 (The Unicode Standard, table
/// 3-7).
struct Character {
  uint32_t code = 0;
  size_t length = 0;
};

Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return {};
  uint32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kLeast[length] || code > 0x10FFFF || is_surrogate) return {};
  return {code, length};
}

bool is_control(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0);
}

/// Returns whether `code` is a line separator or changes the direction of writing (Unicode's Bidi_Control).
bool reorders_line(uint32_t code) {
  return code == 0x061C || code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2066 && code <= 0x2069);
}

/// Appends the first character of `text`, which is not empty, to `line`. Returns the character's size in
/// bytes.
size_t append_character(std::string_view text, std::string& line) {
  const Character character = first_character(text);
  if (character.length == 0) {
    line += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    return 1;
  }
  if (is_control(character.code))
    line += fmt::format("\\x{:02x}", character.code);
  else if (reorders_line(character.code))
    line += fmt::format("\\u{:04x}", character.code);
  else
    line += text.substr(0, character.length);
  return character.length;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) text.remove_prefix(append_character(text, line));
  return line;
}

std::string shortened(std::string_view text, size_t most_bytes) {
  constexpr std::string_view kMore = "...";
  std::string line;
  size_t kept = 0;  // bytes of the characters that leave room for kMore
  while (!text.empty() && line.size() <= most_bytes) {
    text.remove_prefix(append_character(text, line));
    if (line.size() + kMore.size() <= most_bytes) kept = line.size();
  }
  if (line.size() <= most_bytes) return line;
  return line.substr(0, kept) + std::string(kMore);
}

bool is_printable(std::string_view text) {
  return printable(text) == text;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = first_character(text);
    if (character.length == 0) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

std::string quote_name(std::string_view name) {
  constexpr size_t kLongest = 80;
  std::string line = "'";
  while (!name.empty() && line.size() <= kLongest) name.remove_prefix(append_character(name, line));
  return line + (name.empty() ? "'" : "...'");
}

}  // namespace taper
