// The library in forty lines: a tensor, a gradient, and a two-layer network that learns.

#include <fmt/format.h>
#include <taper/taper.h>

using namespace taper;

struct Perceptron : Layer {
  Linear& hidden = register_module<Linear>("hidden", 2, 16);
  Linear& output = register_module<Linear>("output", 16, 1);
  Tensor forward(const Tensor& x) override { return output(tanh(hidden(x))); }
};

int main() {
  start_program("quickstart");
  // A tensor and its gradient: d/dx of x^2 summed is 2x.
  Tensor x = from_vector<float>({1, 2, 3}).set_requires_grad();
  (x * x).sum().backward();
  fmt::print("x    = {}\ngrad = {}\n", to_string(x), to_string(x.grad()));

  // Exclusive or, the smallest problem that needs a hidden layer.
  const Tensor inputs = from_vector<float>({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2});
  const Tensor targets = from_vector<float>({0, 1, 1, 0}, {4, 1});
  manual_seed(0);
  Perceptron network;
  AdamW optimizer(network.parameters(), {.lr = 0.05});
  for (int step = 0; step <= 200; ++step) {
    optimizer.zero_grad();
    const Tensor loss = mse_loss(network(inputs), targets);
    loss.backward();
    optimizer.step();
    if (step % 50 == 0) fmt::print("step {:3}  loss {:.4f}\n", step, loss.item());
  }
  const NoGradGuard no_grad;
  fmt::print("{}\n", to_string(network(inputs).flatten()));
}
