#include "taper/nn/train/evaluate.h"

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/autocast.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/report/accuracy.h"
#include "taper/nn/serve/inference_form.h"

namespace taper {
namespace {

/// What the model says of a part of a batch.
struct Answer {
  Batch part;
  Tensor logits, loss;
};

}  // namespace

std::optional<Score> evaluate(Module& model, const std::function<Tensor(const Tensor&)>& forward,
                              DataLoader& batches, const EvaluateOptions& options) {
  const NoGradGuard no_grad;
  std::optional<EmaScope> averaged;
  if (options.ema) averaged.emplace(*options.ema);
  model.eval();
  const InferenceForm form(model);
  const InferenceForm::Scope served(form);
  Accuracy accuracy;
  std::vector<std::pair<Tensor, int64_t>> losses;  // read at the end: until then nothing waits for a GPU
  if (options.predictions) options.predictions->begin();
  batches.start(0);
  while (const std::optional<Batch> batch = batches.next()) {
    if (options.run && options.run->interrupted()) return std::nullopt;
    std::vector<Answer> answers;
    const auto attempt = [&](const std::vector<BatchPart>& parts) {
      for (const auto& [part, divisor] : parts) {
        std::optional<AutocastGuard> autocast;
        if (options.autocast) autocast.emplace(part.images.device().type, *options.autocast);
        const Tensor logits = forward(part.images);
        answers.push_back({part, logits, cross_entropy(logits, part.labels)});
      }
    };
    if (options.splitter) {
      options.splitter->run({*batch}, attempt, [&] { answers.clear(); });
    } else {
      attempt(whole_batches({*batch}));
    }
    for (const auto& [part, logits, loss] : answers) {
      losses.emplace_back(loss, part.size());
      accuracy.add(logits, part.labels);
      if (options.predictions) options.predictions->add(logits, part);
    }
    if (options.run) {
      options.run->tell(
          [&](TrainSink& sink) { sink.on_evaluated(batch->step + 1, batches.batches_per_epoch()); });
    }
  }
  double loss_sum = 0;
  for (const auto& [loss, count] : losses) loss_sum += loss.item() * double(count);
  if (options.predictions) options.predictions->finish();
  const Tensor sums = from_vector<double>(
      {double(accuracy.count()), double(accuracy.correct1()), double(accuracy.correct5()), loss_sum});
  if (options.group) options.group->all_reduce(sums, ReduceOp::kSum, "scores").wait();
  const double* const all = sums.data<double>();
  TAPER_CHECK(all[0] > 0, "the validation set has no readable image");
  return Score{all[1] / all[0], all[2] / all[0], all[3] / all[0]};
}

}  // namespace taper
