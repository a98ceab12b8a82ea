#include "taper/nn/report/html_page.h"

#include <algorithm>

#include "taper/core/files/atomic_file.h"

namespace taper {

void write_html_page(const std::string& path, std::string_view page, std::string_view json) {
  const std::string_view mark = "@DATA@";
  const size_t at = page.find(mark);
  AtomicFile file(path);
  file.write(page.substr(0, at));
  // A '<' could end the script element that contains the data.
  for (size_t begin = 0; begin <= json.size();) {
    const size_t end = std::min(json.find('<', begin), json.size());
    file.write(json.substr(begin, end - begin));
    if (end < json.size()) file.write("\\u003c");
    begin = end + 1;
  }
  file.write(page.substr(at + mark.size()));
  file.commit();
}

}  // namespace taper
