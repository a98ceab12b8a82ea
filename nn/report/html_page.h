#pragma once
// Pages that show data: a template inside the library with a place for JSON. One file, and no network.

#include <string>
#include <string_view>

namespace taper {

/// Writes `page` with `json` in the place of its mark @DATA@, inside a <script type="application/json">.
/// Nothing in the JSON can end that element. Throws FileError; the file at `path` is then as it was.
void write_html_page(const std::string& path, std::string_view page, std::string_view json);

}  // namespace taper
