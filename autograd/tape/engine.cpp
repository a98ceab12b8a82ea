#include "taper/autograd/tape/engine.h"  // spine 51 (docs/0-the-spine.md)

#include <algorithm>
#include <queue>
#include <unordered_map>
#include <utility>

#include "taper/autograd/tape/admit_gradient.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/meta.h"
#include "taper/autograd/tape/stream_order.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/base/profile_events.h"
#include "taper/core/base/warning.h"
#include "taper/core/profiler.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/op_call.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {
namespace {

thread_local bool capturing = false;

struct CapturingScope {
  bool previous;
  explicit CapturingScope(bool next) : previous(std::exchange(capturing, next)) {}
  ~CapturingScope() { capturing = previous; }
};

using Functions = std::vector<std::function<void()>>;

/// What after_backward() was given in the outermost pass of this thread; null outside all passes.
constinit thread_local Functions* functions_after = nullptr;

/// For the scope of a pass.
class AfterScope {
 public:
  AfterScope() : is_outermost_(functions_after == nullptr) {
    if (is_outermost_) functions_after = &own_;
  }
  ~AfterScope() {
    if (is_outermost_) functions_after = nullptr;
  }
  AfterScope(const AfterScope&) = delete;
  AfterScope& operator=(const AfterScope&) = delete;

  void run() {
    for (size_t i = 0; i < own_.size(); ++i) std::exchange(own_[i], {})();  // one may add others
  }

 private:
  bool is_outermost_;
  Functions own_;
};

/// What the engine knows of one node during one pass.
struct NodeState {
  int waiting = 0;          ///< edges into the node that have not delivered yet
  bool needed = true;       ///< leads to something that wants a gradient
  Grads grads;              ///< collected so far, one per output
  std::vector<bool> owned;  ///< whether grads[i] is a sum made here, which may be added to in place
};

struct Root {
  Edge edge;
  Tensor grad;
};

class Pass {
 public:
  Pass(BackwardOptions options, std::vector<Edge> captures)
      : options_(options), captures_(std::move(captures)), captured_(captures_.size()) {}

  std::vector<Tensor> run(const std::vector<Root>& roots) {
    count_dependencies(roots);
    if (!captures_.empty()) mark_needed(roots);
    const CapturingScope scope(!captures_.empty());
    AfterScope after;
    const GradModeGuard mode(options_.create_graph);
    const detail::AutocastModeGuard no_autocast({});
    for (const Root& root : roots) {
      deliver(root.edge, root.grad);
      if (--state(root.edge.node)->waiting == 0) ready_.push(root.edge.node.get());
    }
    while (!ready_.empty()) {
      Node* node = ready_.top();
      ready_.pop();
      process(*node);
    }
    streams_.join();
    after.run();
    return std::move(captured_);
  }

 private:
  struct BySequence {
    bool operator()(const Node* a, const Node* b) const { return a->sequence() < b->sequence(); }
  };

  NodeState* state(const std::shared_ptr<Node>& node) { return &states_.at(node.get()); }

  void count_dependencies(const std::vector<Root>& roots) {
    std::vector<Node*> stack;
    const auto reach = [&](const std::shared_ptr<Node>& node) {
      const auto [entry, is_new] = states_.try_emplace(node.get());
      if (is_new && node->stream()) streams_.add(*node->stream());
      ++entry->second.waiting;
      if (is_new) stack.push_back(node.get());
    };
    for (const Root& root : roots) reach(root.edge.node);
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      for (const Edge& edge : node->next_edges()) {
        if (edge.node) reach(edge.node);
      }
    }
  }

  /// For grad(): a node is needed if an edge path leads from it to a captured one. Visits nodes in
  /// topological order and then backwards.
  void mark_needed(const std::vector<Root>& roots) {
    std::unordered_map<const Node*, int> waiting;
    std::vector<Node*> order;
    const auto arrive = [&](const std::shared_ptr<Node>& node) {
      if (++waiting[node.get()] == state(node)->waiting) order.push_back(node.get());
    };
    for (const Root& root : roots) arrive(root.edge.node);
    for (size_t i = 0; i < order.size(); ++i) {
      for (const Edge& edge : order[i]->next_edges()) {
        if (edge.node) arrive(edge.node);
      }
    }
    for (size_t i = order.size(); i-- > 0;) {
      NodeState& own = states_.at(order[i]);
      own.needed = is_captured(*order[i]);
      for (const Edge& edge : order[i]->next_edges()) {
        own.needed = own.needed || (edge.node && state(edge.node)->needed);
      }
    }
  }

  bool is_captured(const Node& node) const {
    for (const Edge& edge : captures_) {
      if (edge.node.get() == &node) return true;
    }
    return false;
  }

  /// Whether the node's own derivative has to be computed, and not only its arriving gradients captured.
  bool must_run(const Node& node) {
    if (captures_.empty()) return true;
    for (const Edge& edge : node.next_edges()) {
      if (edge.node && state(edge.node)->needed) return true;
    }
    return false;
  }

  void process(Node& node) {
    const StreamOrder::Scope on_its_stream(node.stream());
    NodeState& own = states_.at(&node);
    Grads grads = std::move(own.grads);
    own.grads = {};
    const bool any =
        std::any_of(grads.begin(), grads.end(), [](const Tensor& grad) { return grad.defined(); });
    if (any) {
      node.run_tensor_hooks(grads);
      for (size_t i = 0; i < captures_.size(); ++i) {
        if (captures_[i].node.get() == &node) captured_[i] = grads[size_t(captures_[i].index)];
      }
    }
    Grads results;
    if (any && own.needed && must_run(node))
      results = differentiate(node, std::move(grads));
    else
      results.resize(node.next_edges().size());
    for (size_t i = 0; i < results.size(); ++i) {
      const Edge& edge = node.next_edges()[i];
      if (!edge.node) continue;
      if (results[i].defined() && state(edge.node)->needed) {
        const OutputInfo& wanted = edge.node->outputs()[size_t(edge.index)];
        deliver(edge, detail::admit_gradient(std::move(results[i]), wanted, [&] {
                  return fmt::format("backward of {}: for input {} the formula returned", node.describe(), i);
                }));
      }
      if (--state(edge.node)->waiting == 0) ready_.push(edge.node.get());
    }
  }

  Grads differentiate(Node& node, Grads grads) {
    TAPER_CHECK(!options_.create_graph || node.supports_create_graph(),
                "backward with create_graph: {} has no second derivative in Taper; compose it from "
                "differentiable functions, or leave create_graph off",
                node.describe());
    Grads kept;
    const bool keep = node.has_hooks();
    if (keep) kept = grads;
    const OpScope scope(intern(node.name() + " backward"), SpanKind::kBackward);
    if (scope.is_recorded()) {
      scope.describe(ops::types_and_shapes(grads));
      detail::note_bytes(grads);
    }
    Grads results = node.apply(std::move(grads));
    if (scope.is_recorded()) detail::note_bytes(results);
    TAPER_CHECK(
        results.size() == node.next_edges().size(),
        "backward of {}: the formula returned {} gradients for {} inputs; it must return one for each, "
        "an undefined one where none flows",
        node.describe(), results.size(), node.next_edges().size());
    if (AnomalyGuard::is_enabled()) check_finite(node, results);
    if (keep) node.run_hooks(results, kept);
    if (!options_.retain_graph && !options_.create_graph) node.release_saved();
    return results;
  }

  static void check_finite(const Node& node, const Grads& results) {
    for (size_t i = 0; i < results.size(); ++i) {
      if (!results[i].defined()) continue;
      TAPER_CHECK(!ops::item<bool>(ops::any(ops::isnan(results[i]))),
                  "anomaly mode: the backward of {} gave NaN in the gradient of input {}", node.describe(),
                  i);
    }
  }

  /// Brings a gradient to the stream of the node that takes it, and adds it there.
  void deliver(const Edge& edge, Tensor grad) {
    if (grad.device().is_cpu()) return accumulate(edge, std::move(grad));
    const gpu::Stream stream = streams_.stream_of(*edge.node, grad.device());
    streams_.hand_over(grad, stream);
    const gpu::StreamGuard guard(stream);
    accumulate(edge, std::move(grad));
  }

  void accumulate(const Edge& edge, Tensor grad) {
    NodeState& target = *state(edge.node);
    if (target.grads.empty()) {
      target.grads.resize(edge.node->outputs().size());
      target.owned.resize(target.grads.size());
    }
    Tensor& sum = target.grads[size_t(edge.index)];
    if (!sum.defined()) {
      sum = std::move(grad);
      return;
    }
    const OpScope scope("sum of gradients", SpanKind::kBackward);
    if (scope.is_recorded()) detail::note_bytes(3 * int64_t(sum.size_bytes()));
    if (options_.create_graph) {
      sum = sum.add(grad);
    } else if (target.owned[size_t(edge.index)]) {
      ops::add_(sum, grad);
    } else {
      sum = ops::add(sum, grad);
      target.owned[size_t(edge.index)] = true;
    }
  }

  BackwardOptions options_;
  std::vector<Edge> captures_;
  std::vector<Tensor> captured_;
  std::unordered_map<const Node*, NodeState> states_;
  StreamOrder streams_;
  std::priority_queue<Node*, std::vector<Node*>, BySequence> ready_;
};

std::vector<Root> make_roots(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients) {
  TAPER_CHECK(gradients.empty() || gradients.size() == outputs.size(),
              "backward: {} gradients for {} outputs", gradients.size(), outputs.size());
  std::vector<Root> roots;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& output = outputs[i];
    TAPER_CHECK(output.defined(), "backward: output {} is an undefined tensor", i);
    TAPER_CHECK(
        output.requires_grad(),
        "backward: the tensor does not require a gradient; set_requires_grad() on a leaf it is computed "
        "from, and do not compute it under no_grad");
    Tensor grad = gradients.empty() ? Tensor() : gradients[i];
    if (!grad.defined()) {
      TAPER_CHECK(
          output.numel() == 1,
          "backward: the output has shape {}, not one element; pass its gradient, or reduce it with sum() or "
          "mean()",
          output.shape());
      grad = ops::ones(output.shape(), {.dtype = output.dtype(), .device = output.device()});
    }
    const Edge edge = detail::gradient_edge(output);
    const OutputInfo& wanted = edge.node->outputs()[size_t(edge.index)];
    roots.push_back({edge, detail::admit_gradient(std::move(grad), wanted, [i] {
                       return fmt::format("backward: for output {} the caller gave", i);
                     })});
  }
  return roots;
}

}  // namespace

bool detail::engine_is_capturing() {
  return capturing;
}

void after_backward(std::function<void()> function) {
  TAPER_CHECK(functions_after != nullptr, "after_backward: no backward pass is under way in this thread");
  functions_after->push_back(std::move(function));
}

void backward(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients,
              BackwardOptions options) {
  if (options.create_graph) {
    warn_once(
        "backward with create_graph = true: each leaf's grad() now refers to the graph and the graph to the "
        "leaf, a cycle that keeps both alive; set_grad({}) on the leaves when done, or use grad()");
  }
  const std::vector<Root> roots = make_roots(outputs, gradients);
  Pass(options, {}).run(roots);
}

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& gradients, GradOptions options) {
  TAPER_CHECK(!inputs.empty(), "grad: no inputs given");
  std::vector<Edge> captures;
  for (const Tensor& input : inputs) {
    TAPER_CHECK(input.defined() && input.requires_grad(), "grad: an input does not require a gradient");
    captures.push_back(detail::gradient_edge(input));
  }
  const std::vector<Root> roots = make_roots(outputs, gradients);
  std::vector<Tensor> results =
      Pass({.retain_graph = options.retain_graph, .create_graph = options.create_graph}, std::move(captures))
          .run(roots);
  for (size_t i = 0; i < results.size(); ++i) {
    TAPER_CHECK(
        results[i].defined() || options.allow_unused,
        "grad: the outputs do not depend on input {} of shape {}; pass allow_unused = true if that is meant",
        i, inputs[i].shape());
  }
  return results;
}

void register_hook(const Tensor& x, Node::TensorHook hook) {
  TAPER_CHECK(x.requires_grad(), "register_hook: the tensor does not require a gradient");
  detail::TapeMeta& meta = detail::ensure_meta(x);
  if (meta.grad_fn)
    meta.grad_fn->register_tensor_hook(meta.output_index, std::move(hook));
  else
    detail::leaf_hooks(x).on_gradient.add(std::move(hook));
}

void register_post_accumulate_hook(const Tensor& leaf, std::function<void(const Tensor&)> hook) {
  TAPER_CHECK(leaf.requires_grad() && leaf.is_leaf(),
              "register_post_accumulate_hook: only a leaf that requires a gradient accumulates one");
  detail::leaf_hooks(leaf).after_accumulation.add(std::move(hook));
}

}  // namespace taper
