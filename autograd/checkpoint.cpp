#include "taper/autograd/checkpoint.h"

#include "taper/autograd/engine.h"
#include "taper/autograd/grad_mode.h"
#include "taper/autograd/tape.h"
#include "taper/core/generator.h"

namespace taper {

std::vector<Tensor> checkpoint(std::function<std::vector<Tensor>(const std::vector<Tensor>&)> segment,
                               const std::vector<Tensor>& inputs) {
  Tape tape("checkpoint", inputs);
  tape.first_order_only();
  tape.record_anyway();
  const GeneratorState random_state = default_generator().state();
  std::vector<Tensor> outputs;
  {
    const NoGradGuard no_grad;
    outputs = segment(inputs);
  }
  // An output that is an input itself must not have its history replaced.
  for (Tensor& output : outputs) {
    for (const Tensor& input : inputs) {
      if (output.is_same(input)) output = output.detach();
    }
  }
  const size_t count = outputs.size();
  return tape.record(
      std::move(outputs), inputs,
      [segment = std::move(segment), random_state, count,
       input_count = inputs.size()](const Backward& bw) -> Grads {
        TAPER_CHECK(
            !detail::engine_is_capturing(),
            "checkpoint: grad() cannot reach parameters inside a checkpointed segment; use backward()");
        const GeneratorState now = default_generator().state();
        default_generator().set_state(random_state);
        std::vector<Tensor> leaves;
        for (size_t i = 0; i < input_count; ++i) {
          Tensor leaf = bw.saved(i);
          if (leaf.defined()) leaf = leaf.detach();
          if (bw.needs(i)) leaf.set_requires_grad();
          leaves.push_back(leaf);
        }
        std::vector<Tensor> again;
        {
          const EnableGradGuard recording;
          again = segment(leaves);
        }
        default_generator().set_state(now);
        TAPER_CHECK(again.size() == count, "checkpoint: the segment returned {} tensors, then {}", count,
                    again.size());
        std::vector<Tensor> roots, grads;
        for (size_t i = 0; i < count; ++i) {
          if (!bw.has_grad(int(i)) || !again[i].requires_grad()) continue;
          roots.push_back(again[i]);
          grads.push_back(bw.grad(int(i)));
        }
        if (!roots.empty()) backward(roots, grads);
        Grads result;
        for (size_t i = 0; i < input_count; ++i) result.push_back(bw.needs(i) ? leaves[i].grad() : Tensor());
        return result;
      });
}

Tensor checkpoint(std::function<Tensor(const Tensor&)> segment, const Tensor& input) {
  return checkpoint(
      [segment = std::move(segment)](const std::vector<Tensor>& inputs) {
        return std::vector<Tensor>{segment(inputs[0])};
      },
      {input})[0];
}

}  // namespace taper
