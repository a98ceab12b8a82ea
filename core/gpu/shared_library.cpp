#include "taper/core/gpu/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <sstream>

namespace taper::gpu {

SharedLibrary::SharedLibrary(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      name_ = name;
      failure_.clear();
      return;
    }
    if (failure_.empty()) failure_ = dlerror();  // the error for the first name
  }
}

void* SharedLibrary::find(const char* name) {
  if (handle_ == nullptr) return nullptr;
  void* const function = dlsym(handle_, name);
  if (function == nullptr && failure_.empty()) failure_ = fmt::format("{} has no {}", name_, name);
  return function;
}

namespace {

/// Returns the file that the code at `address` was loaded from, or an empty text. The loader reports the name
/// it was given. That name may be relative to a folder that the program has left since; the kernel then
/// reports the file.
std::string file_of(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  if (info.dli_fname[0] == '/') return info.dli_fname;
  std::ifstream maps("/proc/self/maps");  // BEGIN-END PERMISSIONS OFFSET DEVICE INODE PATH
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream fields(line);
    fields >> std::hex >> begin >> dash >> end;
    const size_t path = line.find('/');
    const auto wanted = reinterpret_cast<uintptr_t>(address);
    if (begin <= wanted && wanted < end && path != line.npos) return line.substr(path);
  }
  return {};
}

}  // namespace

std::vector<std::string> nvidia_library_names(const std::string& soname, const std::string& wheel,
                                              const void* neighbour) {
  std::vector<std::string> names = {soname};
  const std::string path = file_of(neighbour);
  if (path.empty()) return names;
  const std::string folder = path.substr(0, path.rfind('/'));
  names.push_back(fmt::format("{}/{}", folder, soname));
  names.push_back(fmt::format("{}/../../{}/lib/{}", folder, wheel, soname));
  return names;
}

}  // namespace taper::gpu
