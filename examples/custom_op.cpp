// An operation of your own with its own derivative, checked against finite differences and used in training:
// Swish with a learnable slope, x * sigmoid(beta * x). (Ramachandran et al., "Searching for Activation
// Functions", 2017)

#include <fmt/format.h>
#include <taper/taper.h>

using namespace taper;

struct Swish {
  Tensor forward(SaveForBackward& save, const Tensor& x, const Tensor& beta) const {
    const Tensor gate = sigmoid(beta * x);
    save({x, beta, gate});
    return x * gate;
  }
  Grads backward(const Backward& bw) const {
    const Tensor x = bw.saved(0), beta = bw.saved(1), gate = bw.saved(2);
    const Tensor slope = gate * (1 - gate);  // d sigmoid(z) / d z
    return {bw.grad() * (gate + beta * x * slope), (bw.grad() * x * x * slope).sum()};
  }
};

int main() {
  start_program("custom_op");
  manual_seed(1);
  const TensorFunction swish = [](const std::vector<Tensor>& in) { return apply(Swish{}, in[0], in[1]); };
  const Tensor x = randn({3, 4}, {.dtype = kFloat64}).set_requires_grad();
  const Tensor beta = full({}, 1.5, {.dtype = kFloat64}).set_requires_grad();
  gradcheck(swish, {x, beta});
  fmt::print("the derivative agrees with finite differences\n");

  // Recover the slope 0.7 from examples.
  const Tensor inputs = randn({256});
  const Tensor targets = inputs * sigmoid(inputs * 0.7);
  const Tensor slope = full({}, 2.0).set_requires_grad();
  SGD optimizer({slope}, {.lr = 0.5, .momentum = 0.9});
  for (int step = 0; step <= 60; ++step) {
    optimizer.zero_grad();
    const Tensor loss = mse_loss(apply(Swish{}, inputs, slope), targets);
    loss.backward();
    optimizer.step();
    if (step % 20 == 0) fmt::print("step {:2}  slope {:.4f}  loss {:.6f}\n", step, slope.item(), loss.item());
  }
}
