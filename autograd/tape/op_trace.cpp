#include "taper/autograd/tape/op_trace.h"

#include <algorithm>

namespace taper {
namespace {

constinit thread_local OpTrace* current_trace = nullptr;

}  // namespace

OpTrace::OpTrace() : outer_(std::exchange(current_trace, this)) {}

OpTrace::~OpTrace() {
  current_trace = outer_;
}

OpTrace* OpTrace::current() {
  return current_trace;
}

int OpTrace::number(const Tensor& x) const {
  const auto met = tensors_.find(x.impl());
  return met == tensors_.end() ? -1 : met->second;
}

OpTrace::Layout OpTrace::layout_of(const Tensor& x) {
  const int storage = storages_.try_emplace(x.storage(), int(storages_.size())).first->second;
  return {storage, x.storage_offset(), x.shape(), x.strides(), x.dtype()};
}

TracedTensor OpTrace::input(const Tensor& x) {
  if (!x.defined()) return {};
  if (!tensors_.contains(x.impl())) {
    // What detach() returned, or the tape had saved, is the tensor it was made of.
    const auto same = std::find(layouts_.rbegin(), layouts_.rend(), layout_of(x));
    if (same != layouts_.rend()) tensors_[x.impl()] = int(layouts_.rend() - same) - 1;
  }
  return output(x);
}

TracedTensor OpTrace::output(const Tensor& x) {
  const auto [entry, is_new] = tensors_.try_emplace(x.impl(), int(layouts_.size()));
  if (is_new) layouts_.push_back(layout_of(x));
  const Layout& layout = layouts_[size_t(entry->second)];
  return {.tensor = entry->second, .storage = layout.storage, .dtype = layout.dtype, .shape = layout.shape};
}

}  // namespace taper
