// What a terminal gets to see of names and texts that come from files.

#include "taper/core/base/printable.h"

#include <catch2/catch.hpp>

#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"

using namespace taper;

TEST_CASE("printable text steers no terminal and is one line of UTF-8") {
  struct Case {
    std::string text, shown;
  };
  const std::vector<Case> cases = {
      {"", ""},
      {"plain 'text' \\ ~", "plain 'text' \\ ~"},
      {"Käse, 猫, 🕯", "Käse, 猫, 🕯"},
      {"\x1b[31mred", "\\x1b[31mred"},
      {std::string("a\0b\tc\nd\re", 9), "a\\x00b\\x09c\\x0ad\\x0de"},
      {"\x7f", "\\x7f"},
      {"\xc2\x9b"
       "31m",
       "\\x9b31m"},  // a C1 control character
      {"\x9b"
       "31m",
       "\\x9b31m"},              // the same as a bare byte
      {"\xc2\xa0", "\xc2\xa0"},  // the first character after them: a no-break space
      {"a\u202eb\u2066c\u200fd\u061ce", "a\\u202eb\\u2066c\\u200fd\\u061ce"},
      {"a\u2028b\u2029c", "a\\u2028b\\u2029c"},
      {"\xc0\x8a", "\\xc0\\x8a"},                    // a line feed in too many bytes
      {"\xe0\x82\x9b", "\\xe0\\x82\\x9b"},           // C1 in too many bytes
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // half of a surrogate pair
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // beyond Unicode
      {"\xff\xfe", "\\xff\\xfe"},
      {"cut \xe7\x8c", "cut \\xe7\\x8c"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.shown);
    CHECK(printable(c.text) == c.shown);
    CHECK(printable(c.shown) == c.shown);
  }
}

TEST_CASE("a quoted name is short and never cut inside a character") {
  CHECK(quote_name("conv1.weight") == "'conv1.weight'");
  CHECK(quote_name("") == "''");
  CHECK(quote_name("a\nb") == "'a\\x0ab'");
  CHECK(quote_name(std::string(80, 'x')) == fmt::format("'{}'", std::string(80, 'x')));
  CHECK(quote_name(std::string(81, 'x')) == fmt::format("'{}...'", std::string(80, 'x')));
  std::string cats;
  for (int i = 0; i < 30; ++i) cats += "猫";  // three bytes each
  CHECK(quote_name(cats) == fmt::format("'{}...'", cats.substr(0, 27 * 3)));
}

TEST_CASE("a shortened text is printable, ends in dots, and stays as it is when shortened again") {
  CHECK(shortened("all of it", 9) == "all of it");
  CHECK(shortened("all of it!", 9) == "all of...");
  CHECK(shortened("ää\n", 8) == "ää\\x0a");
  CHECK(shortened("ää\nä", 8) == "ää...");
  CHECK(shortened("ääääää", 10) == "äää...");
  const std::string once = shortened(std::string(300, '\x1b'), 100);
  CHECK(once.size() <= 100);
  CHECK(shortened(once, 100) == once);
  CHECK(is_printable(once));
  CHECK_FALSE(is_printable("\x1b"));
}

TEST_CASE("errors and warnings show names as printable text") {
  CHECK(std::string(Error("a\nb").what()) == "a\\x0ab");
  CHECK_THROWS_WITH(fail<FileError>("{}: no such file", "x\x1b]0;title\a"),
                    "x\\x1b]0;title\\x07: no such file");
  CHECK_THROWS_WITH(fail<Error>("{}", "\xc2\x9b"), "\\x9b");
  std::string seen;
  const WarningHandler before = set_warning_handler([&](std::string_view message) { seen = message; });
  warn("one\ntwo");
  set_warning_handler(before);
  CHECK(seen == "one\\x0atwo");
}
