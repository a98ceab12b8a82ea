#pragma once
// What fuzz targets share. A target is one function that is called again and again with bytes of any kind and
// hands them to one parser. Refusing them with a FileError is right; a crash, a hang, a leak, another
// exception or a broken promise is a fault.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include "../support/temporary_folder.h"
#include "taper/core/base/error.h"
#include "taper/core/base/warning.h"

/// The target, by the name that libFuzzer and its like call it. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace taper::fuzz {

/// Ends the program if a promise of the parser is broken.
inline void require(bool kept, std::string_view promise) {
  if (kept) return;
  std::fprintf(stderr, "broken promise: %.*s\n", int(promise.size()), promise.data());
  std::abort();
}

/// Whether read() accepts its input, which errors call `name`. It may refuse with one line that begins so.
template <class Read>
bool accepts(const std::string& name, Read&& read) {
  try {
    read();
    return true;
  } catch (const FileError& error) {
    const std::string_view message = error.what();
    require(message.starts_with(name + ": "), "an error begins with the file's name");
    require(message.find('\n') == std::string_view::npos, "an error is one line");
    return false;
  }
}

/// A file called `name`, in a folder of its own, for parsers that read files.
class InputFile {
 public:
  explicit InputFile(const std::string& name) : path_(folder_ / name) {
    set_warning_handler([](std::string_view) {});  // most inputs are damaged
  }

  const std::string& path() const { return path_; }
  void write(std::span<const uint8_t> bytes) const {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    if (!file.flush()) throw std::runtime_error("cannot write " + path_);
  }

 private:
  TemporaryFolder folder_;
  std::string path_;
};

}  // namespace taper::fuzz
