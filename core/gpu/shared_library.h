#pragma once
// Libraries that are opened while the program runs, so that it also runs without them. Vendors' libraries
// (cuBLASLt, cuDNN) are opened this way: the build needs only their headers.

#include <string>
#include <vector>

namespace taper::gpu {

/// Stays open for the life of the program, because such libraries keep memory and threads of their own until
/// it ends.
class SharedLibrary {
 public:
  /// Opens the first of `names` that can be opened. A name is a path or a soname, which is searched in the
  /// system's folders, LD_LIBRARY_PATH and the program's run path. Throws nothing; see failure().
  explicit SharedLibrary(const std::vector<std::string>& names);

  /// Returns in one line what went wrong: nothing could be opened, or a function is missing. Empty if all is
  /// well.
  const std::string& failure() const { return failure_; }
  /// Returns dlopen's handle; null if nothing could be opened.
  void* handle() const { return handle_; }
  /// Points `function` to the library's function of that name. If there is none, sets it to null, and
  /// failure() says so.
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

/// Returns where one of NVIDIA's libraries may be, for SharedLibrary. First, wherever the system looks for
/// `soname` ("libcublasLt.so.13"). Then, beside the library of the function `neighbour`, as in a toolkit or
/// in the wheel of CUDA 13. Last, in the folder that `wheel` ("cublas") has among NVIDIA's Python packages
/// (site-packages/nvidia/WHEEL/lib).
std::vector<std::string> nvidia_library_names(const std::string& soname, const std::string& wheel,
                                              const void* neighbour);

}  // namespace taper::gpu
