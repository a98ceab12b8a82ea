#include "taper/autograd/tape/in_place.h"

#include "taper/autograd/tape/meta.h"
#include "taper/core/views.h"
#include "taper/ops/copy/copy.h"

namespace taper::detail {
namespace {

/// Shape, strides and the offset from the base's first element.
struct Geometry {
  Shape shape;
  Strides strides;
  int64_t offset = 0;

  static Geometry of(const Tensor& x, int64_t base_offset) {
    return {x.shape(), x.strides(), x.storage_offset() - base_offset};
  }
  Tensor in(const Tensor& memory) const { return views::as_strided(memory, shape, strides, offset); }
};

/// The gradient of a base after `write` has overwritten a view of the base: the written part goes through the
/// write's own derivative, the rest passes.
class CopySlices final : public Node {
 public:
  CopySlices(const Tensor& base, const Tensor& view, std::shared_ptr<Node> write)
      : Node(write->name()),
        base_(Geometry::of(base, base.storage_offset())),
        view_(Geometry::of(view, base.storage_offset())),
        write_(std::move(write)) {
    std::vector<Edge> edges{gradient_edge(base)};
    const auto& others = write_->next_edges();
    edges.insert(edges.end(), others.begin() + 1, others.end());
    set_up(std::move(edges), {&base, 1});
  }

  Grads apply(Grads grads) override {
    const Tensor result = empty_strided(base_.shape, base_.strides, grads[0].dtype(), grads[0].device());
    ops::copy_(result, grads[0]);
    const Tensor written = view_.in(result);
    Grads through = write_->apply({ops::clone(written)});
    if (through[0].defined())
      ops::copy_(written, through[0]);
    else
      ops::fill_(written, 0);
    through[0] = result;
    return through;
  }
  void release_saved() override { write_->release_saved(); }
  bool supports_create_graph() const override { return false; }

 private:
  Geometry base_, view_;
  std::shared_ptr<Node> write_;
};

/// The gradient of a base from the gradient of one view: zero outside the view.
class ViewOfBase final : public Node {
 public:
  ViewOfBase(const Tensor& base, const Tensor& view)
      : Node("view_of_base"),
        base_(Geometry::of(base, base.storage_offset())),
        view_(Geometry::of(view, base.storage_offset())) {
    set_up({gradient_edge(base)}, {&view, 1});
  }

  Grads apply(Grads grads) override {
    const Tensor result = empty_strided(base_.shape, base_.strides, grads[0].dtype(), grads[0].device());
    ops::fill_(result, 0);
    ops::copy_(view_.in(result), grads[0]);
    return {result};
  }
  bool supports_create_graph() const override { return false; }

 private:
  Geometry base_, view_;
};

}  // namespace

void rebase_view(const Tensor& view, const std::shared_ptr<Node>& node) {
  for (int64_t axis = 0; axis < view.dim(); ++axis) {
    TAPER_CHECK(view.shape()[axis] <= 1 || view.strides()[axis] != 0,
                "{}: the view of shape {} shows one element several times; clone() it before writing",
                node->name(), view.shape());
  }
  const Tensor base = meta(view)->base;
  set_history(base, make_node<CopySlices>(base, view, node), 0);
  regenerate_view_history(view);
}

void regenerate_view_history(const Tensor& view) {
  const Tensor& base = meta(view)->base;
  set_history(view, make_node<ViewOfBase>(base, view), 0);
}

}  // namespace taper::detail
