// A tensor, its gradient, and the data set inside the library, from nothing but an installed Taper.
#include <taper/taper.h>

int main() {
  taper::Tensor x = taper::randn({2, 3});
  x.set_requires_grad(true);
  taper::Tensor y = (x * x).sum();
  y.backward();
  fmt::print("{}\n", taper::to_string(x.grad()));

  const double error = taper::abs(x.grad() - x * 2).sum().item();
  fmt::print("taper {}, {} digits, error {}\n", taper::kVersion, taper::digits_train().size(), error);
}
