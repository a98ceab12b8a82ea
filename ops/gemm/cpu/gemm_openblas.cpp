// OpenBLAS behind gemm_libraries.h. The library is opened at run time.

#include <fmt/format.h>

#include <string_view>

#include "taper/core/gpu/shared_library.h"
#include "taper/ops/gemm/cpu/gemm_libraries.h"

namespace taper::ops {
namespace {

// From cblas.h: these values are common to every BLAS.
enum CblasOrder { kCblasRowMajor = 101 };
enum CblasTranspose { kCblasNoTrans = 111, kCblasTrans = 112 };
template <class T>
using CblasGemm = void(CblasOrder, CblasTranspose, CblasTranspose, int m, int n, int k, T alpha, const T* a,
                       int lda, const T* b, int ldb, T beta, T* c, int ldc);

/// Finds "0.3.21" in "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ...".
std::string version_in(std::string_view config) {
  const size_t begin = config.find_first_of("0123456789");
  return begin == config.npos ? "unknown"
                              : std::string(config.substr(begin, config.find(' ', begin) - begin));
}

struct OpenBlas {
  OpenBlas() {
    gpu::SharedLibrary library({"libopenblas.so.0"});
    if (library.handle() == nullptr) return;
    void (*set_num_threads)(int) = nullptr;
    const char* (*config)() = nullptr;
    library.find(set_num_threads, "openblas_set_num_threads");
    library.find(config, "openblas_get_config");
    library.find(f32, "cblas_sgemm");
    library.find(f64, "cblas_dgemm");
    if (!library.failure().empty()) return;
    const std::string_view text = config();
    if (text.find("USE64BITINT") != text.npos) return;  // its integers are wider than ours
    set_num_threads(1);                                 // our threads compute the slices
    name = fmt::format("openblas {}", version_in(text));
  }

  CblasGemm<float>* f32 = nullptr;
  CblasGemm<double>* f64 = nullptr;
  std::string name;
};

const OpenBlas& openblas() {
  // Never destroyed: ops may run while static objects are.
  static const OpenBlas& library = *new OpenBlas;
  return library;
}

CblasGemm<float>* function_for(float) {
  return openblas().f32;
}
CblasGemm<double>* function_for(double) {
  return openblas().f64;
}

}  // namespace

const std::string& openblas_name() {
  return openblas().name;
}

template <class T>
void gemm_openblas(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  const auto transpose = [](const auto& m) { return m.transposed ? kCblasTrans : kCblasNoTrans; };
  function_for(T())(kCblasRowMajor, transpose(a), transpose(b), int(c.rows), int(c.cols), int(a.cols), T(1),
                    a.data, int(a.stride), b.data, int(b.stride), beta, c.data, int(c.stride));
}

template void gemm_openblas(const Matrix<const float>&, const Matrix<const float>&, float,
                            const Matrix<float>&);
template void gemm_openblas(const Matrix<const double>&, const Matrix<const double>&, double,
                            const Matrix<double>&);

}  // namespace taper::ops
