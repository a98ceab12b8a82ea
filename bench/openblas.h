#pragma once
// OpenBLAS's matrix product, as a measure of what the machine can do. The library is opened where it is
// installed (Debian: libopenblas0).

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "taper/core/base/parallel.h"
#include "taper/core/gpu/shared_library.h"
#include "taper/core/tensor.h"

namespace taper {

class OpenBlas {
 public:
  OpenBlas() {
    gpu::SharedLibrary library({"libopenblas.so.0"});
    if (library.handle() == nullptr) return;
    void (*set_num_threads)(int) = nullptr;
    const char* (*config)() = nullptr;
    library.find(set_num_threads, "openblas_set_num_threads");
    library.find(config, "openblas_get_config");
    library.find(sgemm_, "cblas_sgemm");
    if (!library.failure().empty()) return;
    const std::string_view text = config();             // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
    if (text.find("USE64BITINT") != text.npos) return;  // its integers are not ours
    set_num_threads(taper::num_threads());
    const size_t begin = std::min(text.find_first_of("0123456789"), text.size());
    name_ = fmt::format("openblas {}", text.substr(begin, text.find(' ', begin) - begin));
  }

  /// "openblas 0.3.21"; empty if the machine has no such library.
  const std::string& name() const { return name_; }
  /// c = a b, all f32 [n, n] and contiguous. Only if name() is not empty.
  void multiply(const Tensor& a, const Tensor& b, const Tensor& c) const {
    constexpr int kRowMajor = 101, kNoTranspose = 111;  // of cblas.h, which is the same for every BLAS
    const int n = int(c.size(0));
    sgemm_(kRowMajor, kNoTranspose, kNoTranspose, n, n, n, 1, a.data<float>(), n, b.data<float>(), n, 0,
           c.data<float>(), n);
  }

 private:
  void (*sgemm_)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                 const float* a, int lda, const float* b, int ldb, float beta, float* c, int ldc) = nullptr;
  std::string name_;
};

}  // namespace taper
