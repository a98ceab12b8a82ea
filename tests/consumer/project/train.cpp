// A training loop of the user's own around the library's step, with a loss that the library does not have,
// then the library's loop with a sink of the user's own. From nothing but an installed Taper.
#include <taper/taper.h>

using namespace taper;

struct Lowest : TrainSink {
  void on_step_end(const StepRecord& record) override { loss = std::min(loss, record.loss); }
  double loss = 1e9;
};

int main() {
  manual_seed(0);
  Sequential model;
  model.add<Flatten>().add<Linear>(3 * 8 * 8, 10);
  SGD optimizer(model.named_parameters(), {.lr = 0.02});
  DataLoader digits(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                    {.batch_size = 64, .shuffle = true});

  // The mean distance from the label's number, a poor loss that still learns.
  TrainStep own_step(
      [&](const Batch& batch) {
        const Tensor numbers = arange(10).to(kFloat32).unsqueeze(1);
        const Tensor guess = matmul(softmax(model(batch.images), 1), numbers).squeeze(1);
        return mse_loss(guess, batch.labels.to(kFloat32));
      },
      optimizer, {.clip_grad = 1});
  digits.start(0);
  std::vector<double> losses;
  while (const auto batch = digits.next()) losses.push_back(own_step({*batch}).loss());

  TrainingRun run;
  const auto lowest = std::make_shared<Lowest>();
  run.add(lowest);
  const Outcome& outcome = run.execute([&] {
    TrainLoop{.plan = TrainPlan(digits, {.epochs = 2}),
              .model = model,
              .batches = digits,
              .step = TrainStep(classification_loss(model), optimizer),
              .evaluate = [&] { return evaluate(model, digits); }}
        .train(run);
  });
  const bool learns = losses.back() < losses.front() && outcome.score->top1 > 0.7 && lowest->loss < 1.5;
  fmt::print("{} after {} steps, {}\n", name_of(outcome.ending), outcome.steps,
             learns ? "and it learned" : "but it learned nothing");
}
