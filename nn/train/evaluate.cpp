#include "taper/nn/train/evaluate.h"

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/report/accuracy.h"
#include "taper/nn/serve/inference_form.h"

namespace taper {

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
  batches.start(0);
  while (const std::optional<Batch> batch = batches.next()) {
    if (options.run && options.run->interrupted()) return std::nullopt;
    const Tensor logits = forward(batch->images);
    losses.emplace_back(cross_entropy(logits, batch->labels), batch->size());
    accuracy.add(logits, batch->labels);
    if (options.run) {
      options.run->tell(
          [&](TrainSink& sink) { sink.on_evaluated(batch->step + 1, batches.batches_per_epoch()); });
    }
  }
  TAPER_CHECK(accuracy.count() > 0, "the validation set has no readable image");
  double loss_sum = 0;
  for (const auto& [loss, count] : losses) loss_sum += loss.item() * double(count);
  return Score{accuracy.top1(), accuracy.top5(), loss_sum / double(accuracy.count())};
}

}  // namespace taper
