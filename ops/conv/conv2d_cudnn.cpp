// cuDNN 9 behind conv_library.h, through cudnn-frontend: a convolution and what follows it become a graph of
// operations, cuDNN's heuristics list engine configurations for it, and the chosen one is built into an
// execution plan. The library is opened at run time. This is the only file that sees cudnn-frontend, which
// takes half a minute to compile. cuDNN: "Graph API" in NVIDIA's documentation; PyTorch's use of it is in
// ATen/native/cudnn/Conv_v8.cpp.

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB  // its copy of nlohmann::json; cuDNN serialises plans itself
#include <cudnn_frontend.h>

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "taper/core/gpu/library_versions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/conv/conv_library.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend finds all of cuDNN's functions in it
}  // namespace cudnn_frontend

namespace taper::ops {
namespace {

namespace fe = cudnn_frontend;

constexpr size_t kOldestVersion = 90200;  // tells an engine's workspace before its plan is built

std::string version_text(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

/// Calls body() and turns what cuDNN and its frontend throw into an E: their first line.
template <class E, class Body>
auto translate(const char* what, Body&& body) {
  try {
    return body();
  } catch (const std::runtime_error& error) {
    if (dynamic_cast<const Error*>(&error) != nullptr) throw;
    const std::string text = error.what();
    fail<E>("cuDNN cannot {}: {}", what, text.substr(0, text.find('\n')));
  }
}

// ---------------------------------------------------------------------------------------------- handles

/// cuDNN's handles: one is used by one thread at a time, so there are as many for a device as threads have
/// needed at once. They are never destroyed, since the driver may be gone by then.
class Handles {
 public:
  cudnnHandle_t take(int device) {
    {
      const std::lock_guard lock(mutex_);
      auto& idle = idle_[size_t(device)];
      if (!idle.empty()) {
        const cudnnHandle_t handle = idle.back();
        idle.pop_back();
        return handle;
      }
    }
    cudnnHandle_t handle = nullptr;
    const cudnnStatus_t status = fe::detail::create_handle(&handle);
    if (status != CUDNN_STATUS_SUCCESS)
      fail<AlgorithmFailed>("cudnnCreate failed: {}", fe::detail::get_error_string(status));
    return handle;
  }
  void give_back(int device, cudnnHandle_t handle) {
    const std::lock_guard lock(mutex_);
    idle_[size_t(device)].push_back(handle);
  }

 private:
  std::mutex mutex_;
  std::map<size_t, std::vector<cudnnHandle_t>> idle_;  // by device
};

Handles& handles() {
  static Handles& handles = *new Handles;
  return handles;
}

/// A handle of the current device, for a scope.
class Handle {
 public:
  Handle() : device_(gpu::current_device()), handle_(handles().take(device_)) {}
  ~Handle() { handles().give_back(device_, handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cudnnHandle_t get() const { return handle_; }

 private:
  int device_;
  cudnnHandle_t handle_;
};

// ------------------------------------------------------------------------------------------------ graph

/// Names of the operands in a graph; those that are nowhere in memory come after the last.
enum Id : int64_t { kFirst = 1, kSecond, kBias, kResidual, kResult, kVirtual };

cudnnDataType_t data_type(DType dtype) {
  return dtype == kFloat16 ? CUDNN_DATA_HALF : dtype == kBFloat16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/// Operations for one pattern.
class PatternGraph {
 public:
  explicit PatternGraph(const ConvPattern& pattern) : pattern_(pattern), conv_(pattern.conv) {
    if (pattern.pass == Conv2dPass::kForward) {
      add_forward();
    } else {
      add_gradient();
    }
  }
  /// `handle` is null for a device that is not here.
  fe::OperationGraph build(cudnnHandle_t handle) {
    return fe::OperationGraphBuilder().setHandle(handle).setOperationGraph(operations_).build();
  }

 private:
  fe::Tensor tensor(int64_t id, const Shape& shape, bool is_virtual = false) const {
    const std::array<int64_t, 4> dims = {shape[0], shape[1], shape[2], shape[3]};
    const std::array<int64_t, 4> strides = {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
    return fe::TensorBuilder()
        .setDim(4, dims.data())
        .setStride(4, strides.data())
        .setId(id)
        .setAlignment(is_virtual ? 16 : pattern_.alignment)
        .setDataType(is_virtual ? CUDNN_DATA_FLOAT : data_type(pattern_.dtype))
        .setVirtual(is_virtual)
        .build();
  }

  fe::ConvDesc convolution() const {
    const Conv2dOptions& o = conv_.options;
    const std::array<int64_t, 2> padding = {o.padding.h, o.padding.w}, stride = {o.stride.h, o.stride.w},
                                 dilation = {o.dilation.h, o.dilation.w};
    return fe::ConvDescBuilder()
        .setComputeType(CUDNN_DATA_FLOAT)
        .setMathMode(CUDNN_CROSS_CORRELATION)
        .setSpatialDimCount(2)
        .setSpatialStride(2, stride.data())
        .setPrePadding(2, padding.data())
        .setPostPadding(2, padding.data())
        .setDilation(2, dilation.data())
        .build();
  }

  /// What the next operation writes: the result if it is the last, else a tensor that only the graph sees.
  fe::Tensor next_result(int operations_left) {
    const bool last = operations_left == 0;
    return tensor(last ? int64_t(kResult) : int64_t(kVirtual) + int64_t(operations_.size()),
                  conv_.output_shape(), !last);
  }

  void add_forward() {
    int left = int(pattern_.bias) + int(pattern_.residual) + int(pattern_.relu);
    fe::Tensor y = next_result(left);
    operations_.push_back(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR)
                              .setxDesc(tensor(kFirst, conv_.input_shape()))
                              .setwDesc(tensor(kSecond, conv_.weight_shape()))
                              .setyDesc(y)
                              .setcDesc(convolution())
                              .setAlpha(1.f)
                              .setBeta(0.f)
                              .build());
    // cuDNN's precompiled fusions have this order.
    if (pattern_.residual) y = add_pointwise(y, tensor(kResidual, conv_.output_shape()), --left);
    if (pattern_.bias) y = add_pointwise(y, tensor(kBias, {1, conv_.k, 1, 1}), --left);
    if (pattern_.relu) add_relu(y);
  }

  fe::Tensor add_pointwise(const fe::Tensor& x, const fe::Tensor& b, int left) {
    const auto add =
        fe::PointWiseDescBuilder().setMode(CUDNN_POINTWISE_ADD).setComputeType(CUDNN_DATA_FLOAT).build();
    fe::Tensor y = next_result(left);
    operations_.push_back(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
                              .setxDesc(x)
                              .setbDesc(b)
                              .setyDesc(y)
                              .setpwDesc(add)
                              .build());
    return y;
  }

  void add_relu(const fe::Tensor& x) {
    const auto relu =
        fe::PointWiseDescBuilder().setMode(CUDNN_POINTWISE_RELU_FWD).setComputeType(CUDNN_DATA_FLOAT).build();
    operations_.push_back(fe::OperationBuilder(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)
                              .setxDesc(x)
                              .setyDesc(next_result(0))
                              .setpwDesc(relu)
                              .build());
  }

  void add_gradient() {
    const bool by_input = pattern_.pass == Conv2dPass::kBackwardInput;
    fe::OperationBuilder operation(by_input ? CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                                            : CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    operation.setdyDesc(tensor(kFirst, conv_.output_shape()))
        .setcDesc(convolution())
        .setAlpha(1.f)
        .setBeta(0.f);
    if (by_input) {
      operation.setwDesc(tensor(kSecond, conv_.weight_shape()))
          .setdxDesc(tensor(kResult, conv_.input_shape()));
    } else {
      operation.setxDesc(tensor(kSecond, conv_.input_shape()))
          .setdwDesc(tensor(kResult, conv_.weight_shape()));
    }
    operations_.push_back(operation.build());
  }

  const ConvPattern& pattern_;
  const Conv2dGeometry& conv_;
  std::vector<fe::Operation> operations_;
};

// ---------------------------------------------------------------------------------------------- engines

class CudnnPlan : public ConvEnginePlan {
 public:
  explicit CudnnPlan(fe::ExecutionPlan plan) : plan_(std::move(plan)) {}

  void run(const ConvPointers& pointers, void* workspace) const override {
    std::array<int64_t, 5> ids;
    std::array<void*, 5> addresses;
    int64_t count = 0;
    const auto add = [&](Id id, const void* address) {
      if (address == nullptr) return;
      ids[size_t(count)] = id;
      addresses[size_t(count++)] = const_cast<void*>(address);
    };
    add(kFirst, pointers.first);
    add(kSecond, pointers.second);
    add(kBias, pointers.bias);
    add(kResidual, pointers.residual);
    add(kResult, pointers.result);
    translate<AlgorithmFailed>("run a convolution", [&] {
      const auto operands = fe::VariantPackBuilder()
                                .setDataPointers(count, addresses.data())
                                .setUids(count, ids.data())
                                .setWorkspacePointer(workspace)
                                .build();
      const Handle handle;
      const cudaStream_t stream = gpu::current_stream().handle();
      check(fe::detail::set_stream(handle.get(), stream), "cudnnSetStream");
      if (plan_.retain_on_capturing_stream(stream) != cudaSuccess)
        fail<AlgorithmFailed>("cuDNN cannot keep a convolution's kernels for the graph that is captured");
      check(fe::detail::execute(handle.get(), plan_.get_raw_desc(), operands.get_raw_desc()),
            "cudnnBackendExecute");
    });
  }

  std::string serialized() const override {
    return translate<Error>("serialise a plan", [&] { return plan_.getJsonRepresentation(); });
  }

  size_t workspace_bytes() const { return size_t(plan_.getWorkspaceSize()); }

 private:
  static void check(cudnnStatus_t status, const char* call) {
    if (status != CUDNN_STATUS_SUCCESS)
      fail<AlgorithmFailed>("{} failed: {}", call, fe::detail::get_error_string(status));
  }

  mutable fe::ExecutionPlan plan_;
};

class Cudnn : public ConvLibrary {
 public:
  explicit Cudnn(std::shared_ptr<const fe::DeviceProperties> device) : device_(std::move(device)) {}

  std::string name() const override { return "cudnn " + version_text(fe::detail::get_backend_version()); }

  std::vector<ConvEngine> engines(const ConvPattern& pattern) override {
    return translate<Error>("list engines", [&] {
      std::optional<Handle> handle;
      if (device_ == nullptr) handle.emplace();
      // Engine configurations refer to the graph, so that lives as long as they do.
      const auto graph =
          std::make_shared<fe::OperationGraph>(PatternGraph(pattern).build(handle ? handle->get() : nullptr));
      fe::EngineConfigList configs;
      fe::get_heuristics_list(
          std::vector{fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}, *graph,
          [&](cudnnBackendDescriptor_t config) { return is_unwanted(config, pattern); }, configs, true, -1,
          device_);
      std::vector<ConvEngine> engines;
      std::set<std::string> names;  // the fallback list repeats some of the heuristics'
      for (fe::ManagedOpaqueDescriptor& config : configs) {
        ConvEngine engine = engine_of(pattern, graph, config);
        if (names.insert(engine.name).second && engine.build) engines.push_back(std::move(engine));
      }
      return engines;
    });
  }

  std::unique_ptr<ConvEnginePlan> load(const std::string& serialized) override {
    return translate<Error>("load a plan", [&] {
      fe::ExecutionPlanBuilder builder;
      std::optional<Handle> handle;
      if (device_ == nullptr) {
        builder.setHandle(handle.emplace().get());
      } else {
        builder.setDeviceProperties(device_);
      }
      return std::make_unique<CudnnPlan>(builder.loadFromJson(serialized));
    });
  }

 private:
  static bool is_unwanted(cudnnBackendDescriptor_t config, const ConvPattern& pattern) {
    return fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS>(config) ||
           fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION>(config) ||
           (!pattern.allow_tf32 && rounds_to_tf32(config, pattern));
  }

  /// Tensor cores take f32 operands as TF32 alone.
  static bool rounds_to_tf32(cudnnBackendDescriptor_t config, const ConvPattern& pattern) {
    return pattern.dtype == kFloat32 && fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_TENSOR_CORE>(config);
  }

  static ConvEngine engine_of(const ConvPattern& pattern, const std::shared_ptr<fe::OperationGraph>& graph,
                              fe::ManagedOpaqueDescriptor config) {
    const cudnnBackendDescriptor_t raw = config->get_backend_descriptor();
    int64_t workspace_bytes = 0;
    ConvEngine engine;
    engine.name = fe::detail::get_engine_tag(config);
    if (fe::detail::get_workspace_size(config, workspace_bytes).is_bad()) return engine;
    engine.workspace_bytes = size_t(workspace_bytes);
    engine.deterministic = !fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC>(raw);
    engine.rounds_to_tf32 = rounds_to_tf32(raw, pattern);
    engine.compiles = fe::hasBehaviorNote<CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION>(raw);
    engine.build = [graph, config, workspace_bytes] {
      return translate<AlgorithmFailed>("build a plan", [&] {
        auto plan = std::make_unique<CudnnPlan>(
            fe::ExecutionPlanBuilder().setEngineConfig(config, graph->getTag()).build());
        if (plan->workspace_bytes() > size_t(workspace_bytes))
          fail<AlgorithmFailed>("the plan needs {} bytes of workspace, its engine said {}",
                                plan->workspace_bytes(), workspace_bytes);
        return plan;
      });
    };
    return engine;
  }

  std::shared_ptr<const fe::DeviceProperties> device_;
};

/// Opens cuDNN, once in a process.
void open_cudnn() {
  static const std::string failure = [] {
    const gpu::SharedLibrary library = gpu::detail::open_cudnn();
    if (!library.failure().empty()) return fmt::format("cuDNN cannot be used: {}", library.failure());
    fe::cudnn_dlhandle = library.handle();
    // The frontend opens the CUDA runtime by name: the one this program has, not another version beside it.
    setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", fmt::format("libcudart.so.{}", CUDART_VERSION / 1000).c_str(),
           0);
    const size_t version = fe::detail::get_backend_version();
    if (version >= kOldestVersion) return std::string();
    return fmt::format("cuDNN {} is too old: Taper needs {}", version_text(version),
                       version_text(kOldestVersion));
  }();
  TAPER_CHECK(failure.empty(), "{}", failure);
}

}  // namespace

std::unique_ptr<ConvLibrary> load_cudnn(const std::string& device) {
  open_cudnn();
  if (device.empty()) return std::make_unique<Cudnn>(nullptr);
  auto properties = std::make_shared<fe::DeviceProperties>();
  auto status = properties->deserialize({device.begin(), device.end()});
  TAPER_CHECK(status.is_good(), "cuDNN does not understand this description of a device: {}",
              status.get_message());
  return std::make_unique<Cudnn>(std::move(properties));
}

}  // namespace taper::ops
