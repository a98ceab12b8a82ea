// cuDNN 9 behind engine_library.h, through cudnn-frontend. A pattern becomes a graph of operations (graph.h,
// conv_graph.h, norm_graph.h), cuDNN's heuristics list engine configurations for it, and the chosen one is
// built into an execution plan. The library is opened at run time. Only this file compiles cudnn-frontend,
// which takes half a minute. See "Graph API" in NVIDIA's cuDNN documentation. PyTorch's counterpart:
// ATen/native/cudnn/Conv_v8.cpp.

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <type_traits>

#include "taper/core/gpu/library_versions.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tf32.h"
#include "taper/ops/vendor/cudnn/conv_graph.h"
#include "taper/ops/vendor/cudnn/graph.h"
#include "taper/ops/vendor/cudnn/norm_graph.h"
#include "taper/ops/vendor/engine_library.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the frontend finds all of cuDNN's functions in it
}  // namespace cudnn_frontend

namespace taper::ops {
namespace {

constexpr size_t kOldestVersion = 90200;  // the first to tell an engine's workspace before its plan is built

std::string version_text(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

/// Whether a failure may pass: there was no memory, or a launch failed.
bool may_pass(cudnnStatus_t status) {
  return status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
         status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
         CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_EXECUTION_FAILED;
}

/// Calls body() and throws the first line of what cuDNN and its frontend throw as an E. For AlgorithmFailed,
/// failures that may pass become AlgorithmUnavailable.
template <class E, class Body>
auto translate(const char* what, Body&& body) {
  try {
    return body();
  } catch (std::runtime_error& error) {
    if (dynamic_cast<const Error*>(&error) != nullptr) throw;
    std::string text = error.what();
    text.resize(std::min(text.find('\n'), text.size()));
    auto* const cudnn_error = dynamic_cast<fe::cudnnException*>(&error);  // its status() is not const
    if (std::is_same_v<E, AlgorithmFailed> && cudnn_error != nullptr &&
        may_pass(cudnn_error->getCudnnStatus()))
      fail<AlgorithmUnavailable>("cuDNN cannot {}: {}", what, text);
    fail<E>("cuDNN cannot {}: {}", what, text);
  }
}

// ---------------------------------------------------------------------------------------------- handles

/// cuDNN's handles. One thread at a time uses a handle, so a device has as many as threads have needed at
/// once. They are never destroyed, since the driver may be gone by then.
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
      fail<AlgorithmUnavailable>("cudnnCreate failed: {}", fe::detail::get_error_string(status));
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

/// A handle of the current device, until scope end.
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

// ---------------------------------------------------------------------------------------------- engines

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

CudnnGraph graph_of(const EnginePattern& pattern) {
  return std::visit(Overloaded{[](const ConvPattern& conv) { return ConvGraph::of(conv); },
                               [](const NormPattern& norm) { return NormGraph::of(norm); },
                               [](const BlasGemm&) -> CudnnGraph { fail("cuDNN is asked for no products"); }},
                    pattern);
}

/// Tensor cores take f32 operands only as TF32.
enum class Tf32 : uint8_t { kNotAsked, kForbidden, kAllowed };

Tf32 tf32_of(const EnginePattern& pattern) {
  const ConvPattern* conv = std::get_if<ConvPattern>(&pattern);
  if (conv == nullptr || conv->dtype != kFloat32) return Tf32::kNotAsked;
  return conv->allow_tf32 ? Tf32::kAllowed : Tf32::kForbidden;
}

class CudnnPlan : public EnginePlan {
 public:
  explicit CudnnPlan(fe::ExecutionPlan plan) : plan_(std::move(plan)) {}

  void run(const EngineOperands& operands, void* workspace) const override {
    std::array<int64_t, EngineOperands::kMost> ids;
    std::array<void*, EngineOperands::kMost> addresses;
    int64_t count = 0;
    for (const EngineOperand& operand : operands.all()) {
      ids[size_t(count)] = int64_t(operand.operand);
      const void* number = &operand.number;  // cuDNN reads it before execute() returns
      addresses[size_t(count++)] = operand.address != nullptr ? operand.address : const_cast<void*>(number);
    }
    translate<AlgorithmFailed>("run a plan", [&] {
      const auto pack = fe::VariantPackBuilder()
                            .setDataPointers(count, addresses.data())
                            .setUids(count, ids.data())
                            .setWorkspacePointer(workspace)
                            .build();
      const Handle handle;
      const cudaStream_t stream = gpu::current_stream().handle();
      check(fe::detail::set_stream(handle.get(), stream), "cudnnSetStream");
      if (plan_.retain_on_capturing_stream(stream) != cudaSuccess)
        fail<AlgorithmFailed>("cuDNN cannot keep a plan's kernels for the graph that is captured");
      check(fe::detail::execute(handle.get(), plan_.get_raw_desc(), pack.get_raw_desc()),
            "cudnnBackendExecute");
    });
  }

  std::string serialized() const override {
    return translate<Error>("serialise a plan", [&] { return plan_.getJsonRepresentation(); });
  }

  size_t workspace_bytes() const { return size_t(plan_.getWorkspaceSize()); }

 private:
  static void check(cudnnStatus_t status, const char* call) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    const std::string text = fmt::format("{} failed: {}", call, fe::detail::get_error_string(status));
    if (may_pass(status)) throw AlgorithmUnavailable(text);
    throw AlgorithmFailed(text);
  }

  mutable fe::ExecutionPlan plan_;
};

class Cudnn : public EngineLibrary {
 public:
  explicit Cudnn(std::shared_ptr<const fe::DeviceProperties> device) : device_(std::move(device)) {}

  std::string name() const override { return "cudnn " + version_text(fe::detail::get_backend_version()); }

  std::vector<Engine> engines(const EnginePattern& pattern) override {
    return translate<Error>("list engines", [&] {
      std::optional<Handle> handle;
      if (device_ == nullptr) handle.emplace();
      // Engine configurations refer to the graph, so it lives as long as they do.
      const auto graph =
          std::make_shared<fe::OperationGraph>(graph_of(pattern).build(handle ? handle->get() : nullptr));
      const Tf32 tf32 = tf32_of(pattern);
      fe::EngineConfigList configs;
      fe::get_heuristics_list(
          std::vector{fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}, *graph,
          [&](cudnnBackendDescriptor_t config) { return is_unwanted(config, tf32); }, configs, true, -1,
          device_);
      std::vector<Engine> engines;
      std::set<std::string> names;  // the fallback list repeats some of the heuristics' engines
      for (fe::ManagedOpaqueDescriptor& config : configs) {
        Engine engine = engine_of(tf32, graph, config);
        if (names.insert(engine.algorithm.name).second && engine.build) engines.push_back(std::move(engine));
      }
      return engines;
    });
  }

  std::unique_ptr<EnginePlan> load(const std::string& serialized) override {
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
  static bool is_unwanted(cudnnBackendDescriptor_t config, Tf32 tf32) {
    return fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS>(config) ||
           fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION>(config) ||
           (tf32 == Tf32::kForbidden && uses_tensor_cores(config));
  }

  static bool uses_tensor_cores(cudnnBackendDescriptor_t config) {
    return fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_TENSOR_CORE>(config);
  }

  static Engine engine_of(Tf32 tf32, const std::shared_ptr<fe::OperationGraph>& graph,
                          fe::ManagedOpaqueDescriptor config) {
    const cudnnBackendDescriptor_t raw = config->get_backend_descriptor();
    int64_t workspace_bytes = 0;
    Engine engine;
    engine.algorithm.name = fe::detail::get_engine_tag(config);
    if (fe::detail::get_workspace_size(config, workspace_bytes).is_bad()) return engine;
    engine.algorithm.workspace_bytes = size_t(workspace_bytes);
    engine.algorithm.deterministic = !fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC>(raw);
    if (tf32 == Tf32::kAllowed && uses_tensor_cores(raw)) engine.algorithm.epsilon = kTf32Epsilon;
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
  static const std::string& failure = *new std::string([] {  // read in destructors of static objects, too
    const gpu::SharedLibrary library = gpu::detail::open_cudnn();
    if (!library.failure().empty()) return fmt::format("cuDNN cannot be used: {}", library.failure());
    fe::cudnn_dlhandle = library.handle();
    // The frontend opens the CUDA runtime by name: give it this program's, not another version.
    setenv("CUDNN_FRONTEND_CUDART_LIB_NAME", fmt::format("libcudart.so.{}", CUDART_VERSION / 1000).c_str(),
           0);
    const size_t version = fe::detail::get_backend_version();
    if (version >= kOldestVersion) return std::string();
    return fmt::format("cuDNN {} is too old: Taper needs {}", version_text(version),
                       version_text(kOldestVersion));
  }());
  TAPER_CHECK(failure.empty(), "{}", failure);
}

}  // namespace

std::unique_ptr<EngineLibrary> load_cudnn(const std::string& device) {
  open_cudnn();
  if (device.empty()) return std::make_unique<Cudnn>(nullptr);
  auto properties = std::make_shared<fe::DeviceProperties>();
  auto status = properties->deserialize({device.begin(), device.end()});
  TAPER_CHECK(status.is_good(), "cuDNN does not understand this description of a device: {}",
              status.get_message());
  return std::make_unique<Cudnn>(std::move(properties));
}

}  // namespace taper::ops
