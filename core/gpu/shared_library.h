#pragma once
// Libraries that are opened while the program runs, so that it also runs where there are none. Vendors'
// libraries (cuBLASLt, cuDNN) come this way: the build needs their headers alone.

#include <string>
#include <vector>

namespace taper::gpu {

/// Stays open for the life of the program: such libraries keep memory and threads of their own until it ends.
class SharedLibrary {
 public:
  /// Opens the first of `names` that can be: sonames, for which the system's folders, LD_LIBRARY_PATH and the
  /// program's run path are searched, or paths. Throws nothing: failure() tells.
  explicit SharedLibrary(const std::vector<std::string>& names);

  /// What went wrong, in one line: nothing could be opened, or a function is missing. Empty if all is well.
  const std::string& failure() const { return failure_; }
  /// As dlopen returned it; null if nothing could be opened.
  void* handle() const { return handle_; }
  /// Points `function` to the library's function of that name; to null, and failure() says so, if it has
  /// none.
  template <class Function>
  void find(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(find(name));
  }

 private:
  void* find(const char* name);

  void* handle_ = nullptr;
  std::string name_;
  std::string failure_;
};

/// Where one of NVIDIA's libraries may be, for SharedLibrary: wherever the system looks for `soname`
/// ("libcublasLt.so.13"); else beside the library that `neighbour`, a function, is of, as in a toolkit or in
/// the wheel of CUDA 13; else in the folder that `wheel` ("cublas") has among NVIDIA's Python packages
/// (site-packages/nvidia/WHEEL/lib).
std::vector<std::string> nvidia_library_names(const std::string& soname, const std::string& wheel,
                                              const void* neighbour);

}  // namespace taper::gpu
