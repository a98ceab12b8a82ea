#include "training.h"

#include "optimisation.h"
#include "ranks.h"
#include "report.h"
#include "resume.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/nn/parallel/check_weights.h"
#include "taper/nn/parallel/sync_batch_norm.h"
#include "taper/nn/train/captured_step.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/schedule_sink.h"

namespace taper {
namespace {

template <class T>
T* pointer_to(std::optional<T>& value) {
  return value ? &*value : nullptr;
}

}  // namespace

BatchSplitter::Listener tell_of_splits(TrainingRun& run) {
  return [&run](const BatchSplit& split) { run.tell([&](TrainSink& sink) { sink.on_batch_split(split); }); };
}

Training::Training(const TrainOptions& options, Setup& setup, TrainingRun& run, ProcessGroup* group)
    : options_(options),
      setup_(setup),
      run_(run),
      group_(group),
      scaler_({.enabled = options.amp == kFloat16}),
      state_(*setup.model) {
  ResNet& model = *setup.model;
  model.to(options.device);
  optimizer_ = make_optimizer(options, model, setup.lr);
  ema_ = make_ema(options, model);
  schedule_ = make_schedule(options, *optimizer_, setup.plan);
  run.add(std::make_shared<ScheduleSink>(schedule_));
  if (options.early_stop > 0) early_stop_.emplace(options.early_stop);
  if (options.split_batches) {
    splitter_.emplace(model, tell_of_splits(run));
    evaluation_splitter_.emplace(tell_of_splits(run));
  }
  gather_state();
  go_on();
  if (group_) join_ranks();
  const SaveEvery every = {.steps = options.save_steps, .minutes = options.save_minutes};
  if (group_ && !options.checkpoint_dir.empty())
    checkpoints_.emplace(setup.checkpoints.get(), state_, *group_, every);
  else if (setup.checkpoints)
    checkpoints_.emplace(*setup.checkpoints, state_, every);
}

void Training::gather_state() {
  state_.add_optimizer(*optimizer_);
  state_.add("schedule", *schedule_);
  if (ema_) state_.add("ema", *ema_);
  if (scaler_.is_enabled()) state_.add("scaler", scaler_);
  if (early_stop_) state_.add("early_stop", *early_stop_);
  if (splitter_) state_.add("splitter", *splitter_);
  state_.add("history", *setup_.history);
  if (setup_.predictions) state_.add("predictions", *setup_.predictions);
  state_.description = describe_model(options_, setup_.data).to_metadata();
  state_.options = options_.deciding;
  state_.must_match = must_match(options_, setup_.data, setup_.plan);
}

void Training::go_on() {
  if (!setup_.start) return;
  start_ = progress_of(*setup_.start);
  for (const std::string& part : state_.restore(setup_.start->checkpoint))
    setup_.data.notes.push_back(fmt::format("the checkpoint has no {}: it starts anew", part));
  if (splitter_ && splitter_->part_size() > 0)
    setup_.data.notes.push_back(
        fmt::format("batches are computed in parts of {} images at most, as before", splitter_->part_size()));
  run_.outcome().checkpoints.last_path = setup_.start->path;
  run_.outcome().checkpoints.last_step = start_.step;
  setup_.start.reset();
}

void Training::join_ranks() {
  run_.agree(false);
  const std::string own = fmt::format("step {} of {}, {} images to learn from", start_.step,
                                      setup_.plan.total_steps, setup_.data.train->dataset().size());
  const std::vector<std::string> all = group_->gather_texts(own, "plans");
  for (size_t rank = 1; rank < all.size(); ++rank)
    TAPER_CHECK(all[rank] == all[0], "the ranks' runs differ: rank {} is at {}, rank 0 at {}", rank,
                all[rank], all[0]);
  if (const std::string way = connect_gpus(*group_, options_.device); !way.empty())
    setup_.data.notes.push_back(way);
  parallel_.emplace(*setup_.model, *group_, DataParallelOptions{.wire_dtype = options_.wire_dtype});
  if (options_.shard_optimizer) optimizer_->shard(parallel_->shards());
  if (options_.sync_batch_norm)
    setup_.data.notes.push_back(fmt::format("{} batch norms see the images of all ranks",
                                            synchronise_batch_norms(*setup_.model, group_)));
  // Other ranks have other images, and should not drop the same activations of theirs.
  GeneratorState random = default_generator().state();
  random.seed += uint64_t(group_->rank());
  default_generator().set_state(random);
}

TrainStep Training::make_step() {
  return TrainStep(classification_loss(*setup_.model, options_.label_smoothing), *optimizer_,
                   {.autocast = options_.amp,
                    .clip_grad = options_.clip_grad,
                    .ema = ema_.get(),
                    .schedule = schedule_.get(),
                    .scaler = &scaler_,
                    .parallel = pointer_to(parallel_),
                    .splitter = pointer_to(splitter_),
                    .capture = options_.cuda_graph});
}

std::optional<Score> Training::score() {
  if (parallel_) {
    check_weights(*setup_.model, *group_);
    parallel_->broadcast_buffers();
  }
  return evaluate(*setup_.model, *setup_.data.validation,
                  {.ema = options_.eval_ema.value_or(true) ? ema_.get() : nullptr,
                   .run = &run_,
                   .autocast = options_.amp,
                   .splitter = pointer_to(evaluation_splitter_),
                   .group = group_,
                   .predictions = setup_.predictions.get()});
}

void Training::train() {
  print_header(options_, setup_, optimizer_->group_count());
  TrainStep step = make_step();
  TrainLoop loop = {.plan = setup_.plan,
                    .model = *setup_.model,
                    .batches = *setup_.data.train,
                    .step = std::ref(step),
                    .start = start_,
                    .checkpoints = pointer_to(checkpoints_),
                    .group = group_};
  if (setup_.data.validation) loop.evaluate = [this] { return score(); };
  if (early_stop_) {
    loop.enough = [this](const EpochRecord& record) { return early_stop_->update(record); };
    if (early_stop_->is_enough() && !start_.to_evaluate) {
      print_out("a longer --early-stop trains on\n");
      loop.plan.total_steps = start_.step;  // nothing is left to do
    }
  }
  loop.train(run_);
  run_.outcome().optimizer_bytes = optimizer_->memory_bytes();
  if (const CapturedStep* const captured = step.captured())
    run_.outcome().capture = {.replays = captured->replays(),
                              .graphs = int64_t(captured->graph_count()),
                              .nodes = int64_t(captured->node_count()),
                              .refusal = captured->refusal()};
  if (early_stop_ && early_stop_->is_enough()) run_.outcome().ending = Ending::kStoppedEarly;
  if (run_.outcome().ending == Ending::kStoppedEarly) print_out("{}\n", early_stop_->reason());
}

}  // namespace taper
