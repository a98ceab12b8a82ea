// OpTrace::text(), apart from the tape: programs that write no trace do not link it.

#include <unordered_map>
#include <unordered_set>

#include "taper/autograd/tape/op_trace.h"

namespace taper {
namespace {

/// Writes a trace's ops; knows which tensors it has introduced.
class Writer {
 public:
  explicit Writer(std::unordered_map<int, std::string> names) : names_(std::move(names)) {}

  std::string line(const TracedOp& op) {
    std::string inputs = join(op.inputs, [&](const TracedTensor& x) { return mention(x); });
    std::string options = join(op.options, [](const NamedOption& option) { return to_text(option); });
    append(options,
           join(op.others,
                [&](const auto& other) { return fmt::format("{} {}", other.first, mention(other.second)); }),
           ", ");
    append(inputs, options, "; ");
    const std::string outputs = join(op.outputs, [&](const TracedTensor& x) { return introduce(x); });
    return fmt::format("{} = {}({})\n", outputs, op.name, inputs);
  }

 private:
  static void append(std::string& text, const std::string& more, std::string_view between) {
    if (!text.empty() && !more.empty()) text += between;
    text += more;
  }

  template <class Items, class Say>
  static std::string join(const Items& items, const Say& say) {
    std::string text;
    for (const auto& item : items) append(text, say(item), ", ");
    return text;
  }

  std::string& name(int tensor) {
    return names_.try_emplace(tensor, fmt::format("%{}", tensor)).first->second;
  }

  std::string introduce(const TracedTensor& x) {
    introduced_.insert(x.tensor);
    return fmt::format("{}: {} {}", name(x.tensor), x.dtype, x.shape);
  }

  std::string mention(const TracedTensor& x) {
    if (x.tensor < 0) return "none";
    return introduced_.contains(x.tensor) ? name(x.tensor) : introduce(x);
  }

  std::unordered_map<int, std::string> names_;
  std::unordered_set<int> introduced_;
};

}  // namespace

std::string OpTrace::text(const std::vector<std::pair<std::string, Tensor>>& names) const {
  std::unordered_map<int, std::string> by_number;
  for (const auto& [name, tensor] : names) {
    if (const int met = number(tensor); met >= 0) by_number[met] = name;
  }
  Writer writer(std::move(by_number));
  std::string text;
  std::string_view within;
  for (const TracedOp& op : ops_) {
    if (op.within != within && !op.within.empty()) text += fmt::format("{}:\n", op.within);
    within = op.within;
    text += within.empty() ? "" : "  ";
    text += writer.line(op);
  }
  return text;
}

}  // namespace taper
