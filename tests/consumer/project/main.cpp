// What a new user writes first, from nothing but an installed Taper: a gradient, the data set inside the
// library, and a module with two inputs that trains, is saved and loaded, and is served.
#include <taper/taper.h>

using namespace taper;

/// Scores how well each image of a batch fits each description.
struct TwoTowers : Module {
  struct ImageTower : Layer {
    Conv2d& conv = register_module<Conv2d>("conv", 3, 8, 3, Conv2dOptions{.stride = 2}, kNoBias);
    BatchNorm2d& norm = register_module<BatchNorm2d>("norm", 8);
    Linear& output = register_module<Linear>("output", 8, 4);
    Tensor forward(const Tensor& x) override {
      const Tensor y = conv_batch_norm(conv, norm, x, {.relu = true});
      return output(mean(y, {2, 3}));
    }
  };
  ImageTower& images = register_module<ImageTower>("images");
  Linear& descriptions = register_module<Linear>("descriptions", 6, 4);
  Tensor operator()(const Tensor& image, const Tensor& description) {
    return matmul(images(image), descriptions(description).transpose(0, 1));
  }
};

int main() {
  Tensor x = randn({2, 3});
  x.set_requires_grad(true);
  (x * x).sum().backward();
  fmt::print("{}\n", to_string(x.grad()));

  const Tensor image = randn({4, 3, 9, 9}), description = randn({4, 6}), match = arange(4);
  TwoTowers towers, loaded;
  AdamW optimizer(towers.named_parameters(), {.lr = 0.05});
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    optimizer.zero_grad();
    const Tensor loss = cross_entropy(towers(image, description), match);
    loss.backward();
    optimizer.step();
    last = loss.item();
    if (step == 0) first = last;
  }
  towers.eval();
  loaded.eval();
  loaded.load_state_dict(towers.state_dict());
  const InferenceForm form(loaded);
  const InferenceForm::Scope scope(form);
  const double difference = abs(towers(image, description) - loaded(image, description)).sum().item();
  fmt::print("{} learns: {}, served: {}\n", towers.type_name(), last < first / 2, difference < 1e-4);

  const double error = abs(x.grad() - x * 2).sum().item();
  fmt::print("taper {}, {} digits, error {}\n", kVersion, digits_train().size(), error);
}
