// cuBLASLt behind engine_library.h. The library is opened at run time, so all calls go through pointers. See
// "Using the cuBLASLt API" in NVIDIA's cuBLAS documentation. PyTorch's counterpart: ATen/cuda/CUDABlas.cpp.

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "taper/core/gpu/library_versions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/vendor/engine_library.h"

namespace taper::ops {
namespace {

constexpr int kMostAlgorithms = 16;

/// NVIDIA's advice for Hopper. Larger workspaces only invite splits that write more than they save.
constexpr size_t kMostWorkspaceBytes = size_t(32) << 20;

struct Functions {
  decltype(cublasLtGetVersion)* get_version = nullptr;
  decltype(cublasLtCreate)* create = nullptr;
  decltype(cublasLtMatmulDescInit_internal)* init_operation = nullptr;
  decltype(cublasLtMatmulDescSetAttribute)* set_operation = nullptr;
  decltype(cublasLtMatrixLayoutInit_internal)* init_layout = nullptr;
  decltype(cublasLtMatrixLayoutSetAttribute)* set_layout = nullptr;
  decltype(cublasLtMatmulPreferenceInit_internal)* init_preference = nullptr;
  decltype(cublasLtMatmulPreferenceSetAttribute)* set_preference = nullptr;
  decltype(cublasLtMatmulAlgoGetHeuristic)* get_heuristic = nullptr;
  decltype(cublasLtMatmulAlgoConfigGetAttribute)* get_config = nullptr;
  decltype(cublasLtMatmul)* matmul = nullptr;
  decltype(cublasLtGetStatusName)* status_name = nullptr;

  /// Throws Error if the library or a function is missing.
  Functions() {
    gpu::SharedLibrary library = gpu::detail::open_cublaslt();
    library.find(get_version, "cublasLtGetVersion");
    library.find(create, "cublasLtCreate");
    library.find(init_operation, "cublasLtMatmulDescInit_internal");
    library.find(set_operation, "cublasLtMatmulDescSetAttribute");
    library.find(init_layout, "cublasLtMatrixLayoutInit_internal");
    library.find(set_layout, "cublasLtMatrixLayoutSetAttribute");
    library.find(init_preference, "cublasLtMatmulPreferenceInit_internal");
    library.find(set_preference, "cublasLtMatmulPreferenceSetAttribute");
    library.find(get_heuristic, "cublasLtMatmulAlgoGetHeuristic");
    library.find(get_config, "cublasLtMatmulAlgoConfigGetAttribute");
    library.find(matmul, "cublasLtMatmul");
    library.find(status_name, "cublasLtGetStatusName");
    TAPER_CHECK(library.failure().empty(), "cuBLASLt cannot be used: {}", library.failure());
  }

  template <class E = Error>
  void check(cublasStatus_t status, const char* call) const {
    if (status != CUBLAS_STATUS_SUCCESS) fail<E>("{} failed: {}", call, status_name(status));
  }
  /// Throws AlgorithmFailed, or AlgorithmUnavailable if the reason may pass.
  void check_run(cublasStatus_t status, const char* call) const {
    if (status == CUBLAS_STATUS_ALLOC_FAILED || status == CUBLAS_STATUS_EXECUTION_FAILED)
      check<AlgorithmUnavailable>(status, call);
    check<AlgorithmFailed>(status, call);
  }
};

cudaDataType_t cuda_type(DType dtype) {
  switch (dtype) {
    case kFloat64:
      return CUDA_R_64F;
    case kFloat16:
      return CUDA_R_16F;
    case kBFloat16:
      return CUDA_R_16BF;
    default:
      return CUDA_R_32F;
  }
}

cublasComputeType_t compute_type(const BlasGemm& gemm) {
  if (gemm.dtype == kFloat64) return CUBLAS_COMPUTE_64F;
  const bool tf32 = gemm.dtype == kFloat32 && gemm.allow_tf32;
  return tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cublasLtEpilogue_t epilogue(const BlasGemm& gemm) {
  const bool bias = gemm.bias;
  switch (gemm.activation) {
    case Activation::kRelu:
      return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case Activation::kGeluTanh:
      return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
      return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

/// cuBLASLt's descriptions of a product, on the stack: making them is cheaper than looking them up.
struct Descriptors {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t a, b, d;

  /// `bias`: an address or, where it is not read, a number with the same alignment.
  Descriptors(const Functions& lt, const BlasGemm& gemm, const void* bias) {
    const cudaDataType_t scale = gemm.dtype == kFloat64 ? CUDA_R_64F : CUDA_R_32F;
    lt.check(lt.init_operation(&operation, sizeof(operation), compute_type(gemm), scale),
             "cublasLtMatmulDescInit");
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      lt.check(lt.set_operation(&operation, attribute, &value, sizeof(value)),
               "cublasLtMatmulDescSetAttribute");
    };
    const auto transposition = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposition(gemm.transpose_a));
    set(CUBLASLT_MATMUL_DESC_TRANSB, transposition(gemm.transpose_b));
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(gemm));
    if (gemm.bias) {
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, gemm.bias_batch_stride);
    }
    init_layout(lt, gemm, gemm.a, gemm.dtype, a);
    init_layout(lt, gemm, gemm.b, gemm.dtype, b);
    init_layout(lt, gemm, gemm.d, gemm.f32_result ? kFloat32 : gemm.dtype, d);
  }

 private:
  static void init_layout(const Functions& lt, const BlasGemm& gemm, const BlasMatrix& x, DType dtype,
                          cublasLtMatrixLayoutOpaque_t& layout) {
    lt.check(
        lt.init_layout(&layout, sizeof(layout), cuda_type(dtype), uint64_t(x.rows), uint64_t(x.cols), x.ld),
        "cublasLtMatrixLayoutInit");
    if (gemm.batches == 1) return;
    const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, const auto& value) {
      lt.check(lt.set_layout(&layout, attribute, &value, sizeof(value)), "cublasLtMatrixLayoutSetAttribute");
    };
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(gemm.batches));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.batch_stride);
  }
};

/// The relative rounding of the library's product, where coarser than the result's dtype.
double epsilon_of(const BlasGemm& gemm) {
  double epsilon = gemm.dtype == kFloat32 && gemm.allow_tf32 ? kTf32Epsilon : 0;
  if (gemm.activation == Activation::kGeluTanh && gemm.dtype != kFloat64)
    epsilon = std::max(epsilon, kBlasGeluEpsilon);
  return epsilon;
}

/// cuBLASLt's handles, each for the device that was current when it was made. They are never destroyed: at
/// exit the CUDA runtime may be gone before them.
class CublasLtHandles {
 public:
  cublasLtHandle_t of_current_device(const Functions& lt) {
    const auto device = size_t(gpu::current_device());
    const std::lock_guard lock(mutex_);
    if (handles_.size() <= device) handles_.resize(device + 1);
    if (handles_[device] == nullptr) lt.check(lt.create(&handles_[device]), "cublasLtCreate");
    return handles_[device];
  }

 private:
  std::mutex mutex_;
  std::vector<cublasLtHandle_t> handles_;
};

/// The library, with what its plans need.
struct CublasLtLibrary {
  const Functions lt;
  CublasLtHandles handles;
};

class CublasLtPlan final : public EnginePlan {
 public:
  CublasLtPlan(std::shared_ptr<CublasLtLibrary> library, const BlasGemm& gemm,
               const cublasLtMatmulHeuristicResult_t& found)
      : library_(std::move(library)), gemm_(gemm), found_(found) {}

  void run(const EngineOperands& operands, void* workspace) const override {
    const Functions& lt = library_->lt;
    Descriptors described(lt, gemm_, operands.address(Operand::kBias));
    const float one = 1, beta = gemm_.c ? 1 : 0;
    const double one_f64 = 1, beta_f64 = beta;
    const bool f64 = gemm_.dtype == kFloat64;
    void* const d = operands.address(Operand::kD);
    lt.check_run(lt.matmul(library_->handles.of_current_device(lt), &described.operation,
                           f64 ? static_cast<const void*>(&one_f64) : &one, operands.address(Operand::kA),
                           &described.a, operands.address(Operand::kB), &described.b,
                           f64 ? static_cast<const void*>(&beta_f64) : &beta,
                           gemm_.c ? operands.address(Operand::kC) : d, &described.d, d, &described.d,
                           &found_.algo, workspace, found_.workspaceSize, gpu::current_stream().handle()),
                 "cublasLtMatmul");
  }

 private:
  std::shared_ptr<CublasLtLibrary> library_;
  BlasGemm gemm_;
  cublasLtMatmulHeuristicResult_t found_;
};

class CublasLt final : public EngineLibrary {
 public:
  CublasLt() : library_(std::make_shared<CublasLtLibrary>()), lt_(library_->lt) {
    const size_t version = lt_.get_version();  // 10000 major + 100 minor + patch
    const std::string text = fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
    TAPER_CHECK(version / 10000 == CUBLAS_VER_MAJOR,
                "cuBLASLt {} cannot be used: this build was made for version {}", text, CUBLAS_VER_MAJOR);
    name_ = "cublaslt " + text;
  }

  std::string name() const override { return name_; }

  std::vector<Engine> engines(const EnginePattern& pattern) override {
    const auto* const gemm = std::get_if<BlasGemm>(&pattern);
    // Its GELU for f64 has f32's error (13.1: 3e-10).
    if (gemm == nullptr || (gemm->dtype == kFloat64 && gemm->activation == Activation::kGeluTanh)) return {};
    // Half types round sums once, at the end, so parts of a sum may not be kept in the output's dtype.
    constexpr uint32_t kRoundsOnce = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    if (is_half(gemm->dtype)) return search(*gemm, kRoundsOnce);
    std::vector<Engine> found = search(*gemm, CUBLASLT_REDUCTION_SCHEME_MASK);
    const auto is_deterministic = [](const Engine& engine) { return engine.algorithm.deterministic; };
    if (std::all_of(found.begin(), found.end(), is_deterministic)) return found;
    // Callers that need equal bits get a full choice, too.
    for (Engine& other : search(*gemm, kRoundsOnce | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE))
      add_new(found, std::move(other));
    return found;
  }

 private:
  static void add_new(std::vector<Engine>& engines, Engine engine) {
    const auto is_same = [&](const Engine& other) { return other.algorithm.name == engine.algorithm.name; };
    if (std::none_of(engines.begin(), engines.end(), is_same)) engines.push_back(std::move(engine));
  }

  std::vector<Engine> search(const BlasGemm& gemm, uint32_t reduction_schemes) {
    auto* const handle = library_->handles.of_current_device(lt_);
    Descriptors described(lt_, gemm, reinterpret_cast<const void*>(gemm.alignment));
    cublasLtMatmulPreferenceOpaque_t preference;
    lt_.check(lt_.init_preference(&preference, sizeof(preference)), "cublasLtMatmulPreferenceInit");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      lt_.check(lt_.set_preference(&preference, attribute, &value, sizeof(value)),
                "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
           uint64_t(std::min(algorithm_cache().workspace_limit(), kMostWorkspaceBytes)));
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, reduction_schemes);
    for (const auto operand :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      prefer(operand, uint32_t(gemm.alignment));

    std::array<cublasLtMatmulHeuristicResult_t, kMostAlgorithms> results{};
    int count = 0;
    const cublasStatus_t status =
        lt_.get_heuristic(handle, &described.operation, &described.a, &described.b, &described.d,
                          &described.d, &preference, kMostAlgorithms, results.data(), &count);
    // Both statuses answer combinations that the library lacks, such as f64 with a bias.
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
    lt_.check(status, "cublasLtMatmulAlgoGetHeuristic");
    std::vector<Engine> found;
    for (int i = 0; i < count; ++i) {
      const cublasLtMatmulHeuristicResult_t& result = results[size_t(i)];
      if (result.state == CUBLAS_STATUS_SUCCESS) add_new(found, engine_of(gemm, result));
    }
    return found;
  }

  Engine engine_of(const BlasGemm& gemm, const cublasLtMatmulHeuristicResult_t& result) const {
    const auto config = [&]<class T>(cublasLtMatmulAlgoConfigAttributes_t attribute, T value) {
      size_t written = 0;
      lt_.check(lt_.get_config(&result.algo, attribute, &value, sizeof(value), &written),
                "cublasLtMatmulAlgoConfigGetAttribute");
      return int64_t(value);
    };
    const int64_t splits = config(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, int32_t(1)),
                  scheme = config(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, uint32_t(0));
    std::string name = fmt::format("algorithm {}", config(CUBLASLT_ALGO_CONFIG_ID, int32_t(0)));
    const auto add = [&](const char* word, int64_t value) {
      if (value != 0) name += fmt::format(" {} {}", word, value);
    };
    add("tile", config(CUBLASLT_ALGO_CONFIG_TILE_ID, uint32_t(0)));
    add("stages", config(CUBLASLT_ALGO_CONFIG_STAGES_ID, uint32_t(0)));
    add("splits", splits > 1 ? splits : 0);
    add("scheme", scheme);
    add("swizzle", config(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, uint32_t(0)));
    add("option", config(CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, uint32_t(0)));
    add("inner", config(CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, uint16_t(0)));
    add("cluster", config(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, uint16_t(0)));
    return {.algorithm = {.name = std::move(name),
                          .workspace_bytes = result.workspaceSize,
                          // In place, parts are added in the order in which blocks finish.
                          .deterministic = scheme != CUBLASLT_REDUCTION_SCHEME_INPLACE,
                          .epsilon = epsilon_of(gemm)},
            .build = [library = library_, gemm, result] {
              return std::make_unique<CublasLtPlan>(library, gemm, result);
            }};
  }

  std::shared_ptr<CublasLtLibrary> library_;
  const Functions& lt_;
  std::string name_;
};

}  // namespace

std::unique_ptr<EngineLibrary> load_cublaslt() {
  return std::make_unique<CublasLt>();
}

}  // namespace taper::ops
