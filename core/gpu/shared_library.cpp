#include "taper/core/gpu/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace taper::gpu {

SharedLibrary::SharedLibrary(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) {
      name_ = name;
      failure_.clear();
      return;
    }
    if (failure_.empty()) failure_ = dlerror();  // of the name that the system was asked for
  }
}

void* SharedLibrary::find(const char* name) {
  if (handle_ == nullptr) return nullptr;
  void* const function = dlsym(handle_, name);
  if (function == nullptr && failure_.empty()) failure_ = fmt::format("{} has no {}", name_, name);
  return function;
}

std::vector<std::string> nvidia_library_names(const std::string& soname, const std::string& wheel,
                                              const void* neighbour) {
  std::vector<std::string> names = {soname};
  Dl_info info;
  if (dladdr(neighbour, &info) == 0 || info.dli_fname == nullptr) return names;
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return names;
  const std::string folder = path.substr(0, slash);
  names.push_back(fmt::format("{}/{}", folder, soname));
  names.push_back(fmt::format("{}/../../{}/lib/{}", folder, wheel, soname));
  return names;
}

}  // namespace taper::gpu
