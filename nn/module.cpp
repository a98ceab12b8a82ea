#include "taper/nn/module.h"

#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <typeinfo>
#include <unordered_set>

#include "taper/autograd/tape/meta.h"
#include "taper/core/base/printable.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

std::vector<Tensor> tensors_of(const NamedTensors& named) {
  std::vector<Tensor> tensors;
  tensors.reserve(named.size());
  for (const auto& [name, tensor] : named) tensors.push_back(tensor);
  return tensors;
}

/// Returns a type's name without namespaces and enclosing classes or functions, in template arguments too:
/// "taper::(anonymous namespace)::Pair<taper::Linear>" gives "Pair<Linear>".
std::string without_scopes(std::string_view type) {
  std::string result;
  const auto at_start = [&] {
    return result.empty() || result.ends_with('<') || result.ends_with('(') || result.ends_with(", ");
  };
  for (size_t i = 0; i < type.size(); ++i) {
    if (!type.substr(i).starts_with("::")) {
      result += type[i];
      continue;
    }
    ++i;
    // Takes back the scope just written. Brackets in it may hold commas and spaces: "f(int, A)".
    for (int depth = 0; !result.empty() && (depth > 0 || !at_start()); result.pop_back()) {
      const char last = result.back();
      depth += (last == ')' || last == '>') - (last == '(' || last == '<');
    }
  }
  return result;
}

/// Gives `x` the content, dtype and device of `source`, so that every handle on x sees them (PyTorch's
/// `x.data = source`). Drops the gradient node, because the next graph needs one for the new dtype.
void replace_content(const Tensor& x, const Tensor& source) {
  TensorImpl& impl = *x.impl();
  impl.storage = source.storage();
  impl.storage_offset = source.storage_offset();
  impl.strides = source.strides();
  impl.dtype = source.dtype();
  if (detail::TapeMeta* meta = detail::meta(x)) meta->accumulator.reset();
}

/// Applies `convert` to the content of all `tensors` and their gradients.
template <class Convert>
void convert_all(const std::vector<Tensor>& tensors, Convert&& convert) {
  for (const Tensor& x : tensors) {
    const Tensor grad = x.grad();
    const Tensor converted = convert(x);
    if (!converted.is_same(x)) replace_content(x, converted);
    if (grad.defined()) x.set_grad(convert(grad));
  }
}

/// "2 missing ('a', 'b')", from names as quote_name() writes them.
std::string describe_names(std::string_view what, const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  const std::vector<std::string> first(names.begin(), names.begin() + std::min(names.size(), kShown));
  return fmt::format("{} {} ({}{})", names.size(), what, fmt::join(first, ", "),
                     names.size() > kShown ? ", ..." : "");
}

std::vector<std::string> quoted(const std::vector<std::string>& names) {
  std::vector<std::string> result;
  std::ranges::transform(names, std::back_inserter(result), quote_name);
  return result;
}

/// Returns the prefix that turns every name of `shorter` into one of `longer`, or "" if there is none.
std::string common_prefix(const std::vector<std::string>& shorter, const std::vector<std::string>& longer) {
  if (shorter.empty()) return "";
  const std::set<std::string> names(longer.begin(), longer.end());
  for (const std::string& name : longer) {
    if (!name.ends_with("." + shorter.front())) continue;
    const std::string prefix = name.substr(0, name.size() - shorter.front().size());
    const bool fits_all = std::all_of(shorter.begin(), shorter.end(),
                                      [&](const std::string& each) { return names.contains(prefix + each); });
    if (fits_all) return prefix;
  }
  return "";
}

}  // namespace

std::string LoadReport::str() const {
  if (complete()) return "all names and shapes match";
  std::vector<std::string> parts;
  if (!missing.empty()) parts.push_back(describe_names("missing", quoted(missing)));
  if (!unexpected.empty()) parts.push_back(describe_names("unexpected", quoted(unexpected)));
  if (!mismatched.empty()) {
    std::vector<std::string> shapes;
    for (const ShapeMismatch& m : mismatched) {
      shapes.push_back(fmt::format("{}: got {}, needs {}", quote_name(m.name), m.found, m.needed));
    }
    parts.push_back(describe_names("of another shape", shapes));
  }
  if (const std::string prefix = common_prefix(missing, unexpected); !prefix.empty()) {
    parts.push_back(fmt::format("what was given has '{}' before every name: take it off{}", prefix,
                                prefix == "module." ? " (PyTorch's DataParallel puts it there)" : ""));
  } else if (const std::string own = common_prefix(unexpected, missing); !own.empty()) {
    parts.push_back(fmt::format("what was given lacks the '{}' before every name: put it there", own));
  }
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string Module::type_name() const {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status), &std::free);
  return name ? without_scopes(name.get()) : typeid(*this).name();
}

void Module::train(bool training) {
  training_ = training;
  for (const auto& [name, child] : children_) child->train(training);
}

// ---- What it is made of ----

void Module::collect(Kind kind, const std::string& prefix, bool recurse, NamedTensors& result) const {
  for (const auto& [name, tensor] : kind == Kind::kParameter ? parameters_ : buffers_) {
    result.push_back({join(prefix, name), tensor});
  }
  if (!recurse) return;
  for (const auto& [name, child] : children_) child->collect(kind, join(prefix, name), recurse, result);
}

NamedTensors Module::collect_once(Kind kind, bool recurse) const {
  NamedTensors all;
  collect(kind, "", recurse, all);
  std::unordered_set<const TensorImpl*> seen;
  std::erase_if(all, [&](const auto& named) { return !seen.insert(named.second.impl().get()).second; });
  return all;
}

void Module::collect_optional(const std::string& prefix, std::set<std::string>& result) const {
  for (const std::string& name : optional_buffers_) result.insert(join(prefix, name));
  for (const auto& [name, child] : children_) child->collect_optional(join(prefix, name), result);
}

NamedTensors Module::named_parameters(bool recurse) const {
  return collect_once(Kind::kParameter, recurse);
}
NamedTensors Module::named_buffers(bool recurse) const {
  return collect_once(Kind::kBuffer, recurse);
}
std::vector<Tensor> Module::parameters() const {
  return tensors_of(named_parameters());
}
std::vector<Tensor> Module::buffers() const {
  return tensors_of(named_buffers());
}

NamedModules Module::named_children() const {
  NamedModules result;
  for (const auto& [name, child] : children_) result.push_back({name, child.get()});
  return result;
}

void Module::collect_modules(const std::string& prefix, NamedModules& result) {
  result.push_back({prefix, this});
  for (const auto& [name, child] : children_) child->collect_modules(join(prefix, name), result);
}

NamedModules Module::named_modules() {
  NamedModules all;
  collect_modules("", all);
  std::unordered_set<const Module*> seen;
  std::erase_if(all, [&](const auto& named) { return !seen.insert(named.second).second; });
  return all;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const Tensor& parameter : parameters()) count += parameter.numel();
  return count;
}

void Module::apply(const std::function<void(Module&)>& function) {
  for (const auto& [name, child] : children_) child->apply(function);
  function(*this);
}

// ---- Changing it ----

void Module::to(DType dtype) {
  TAPER_CHECK(is_floating_point(dtype), "Module::to: parameters must be floating-point, not {}", dtype);
  const auto convert = [dtype](const Tensor& x) {
    return is_floating_point(x.dtype()) ? ops::cast(x, dtype) : x;
  };
  convert_all(parameters(), convert);
  convert_all(buffers(), convert);
}

void Module::to(Device device) {
  const auto convert = [device](const Tensor& x) { return ops::to_device(x, device); };
  convert_all(parameters(), convert);
  convert_all(buffers(), convert);
}

void Module::zero_grad(bool set_to_none) {
  for (const Tensor& parameter : parameters()) {
    const Tensor grad = parameter.grad();
    if (!grad.defined()) continue;
    if (set_to_none) {
      parameter.set_grad({});
    } else {
      ops::fill_(grad, 0);
    }
  }
}

void Module::set_requires_grad(bool requires_grad) {
  for (Tensor& parameter : parameters()) parameter.set_requires_grad(requires_grad);
}

TensorMap Module::state_dict() const {
  // Shared tensors appear under each of their names, as in PyTorch.
  NamedTensors all;
  collect(Kind::kParameter, "", true, all);
  collect(Kind::kBuffer, "", true, all);
  TensorMap state;
  for (const auto& [name, tensor] : all) state[name] = tensor.detach();
  return state;
}

LoadReport Module::load_state_dict(const TensorMap& state, bool strict) {
  const TensorMap own = state_dict();
  std::set<std::string> optional;
  collect_optional("", optional);
  LoadReport report;
  std::vector<std::pair<Tensor, Tensor>> copies;
  for (const auto& [name, tensor] : own) {
    const auto found = state.find(name);
    if (found == state.end()) {
      if (!optional.contains(name)) report.missing.push_back(name);
    } else if (found->second.shape() != tensor.shape()) {
      report.mismatched.push_back({name, found->second.shape(), tensor.shape()});
    } else {
      copies.emplace_back(tensor, found->second);
    }
  }
  for (const auto& [name, tensor] : state) {
    if (!own.contains(name)) report.unexpected.push_back(name);
  }
  TAPER_CHECK(!strict || report.complete(), "load_state_dict: {} does not fit: {}", type_name(),
              report.str());
  for (const auto& [tensor, source] : copies) ops::copy_(tensor, ops::to_device(source, tensor.device()));
  return report;
}

// ---- Registering ----

void Module::check_name(const std::string& name) const {
  const auto taken = [&](const auto& list) {
    return std::any_of(list.begin(), list.end(), [&](const auto& named) { return named.first == name; });
  };
  TAPER_CHECK(!name.empty() && name.find('.') == std::string::npos,
              "Module: '{}' cannot name a part: names are not empty and hold no dot", name);
  TAPER_CHECK(!taken(parameters_) && !taken(buffers_) && !taken(children_), "Module: the name '{}' is taken",
              name);
}

Tensor Module::register_parameter(const std::string& name, Tensor tensor) {
  check_name(name);
  if (!tensor.defined()) return tensor;
  tensor.set_requires_grad(true);
  parameters_.push_back({name, tensor});
  return tensor;
}

Tensor Module::register_buffer(const std::string& name, Tensor tensor, InState in_state) {
  check_name(name);
  if (!tensor.defined()) return tensor;
  if (in_state == InState::kOptional) optional_buffers_.push_back(name);
  buffers_.push_back({name, tensor});
  return tensor;
}

}  // namespace taper
