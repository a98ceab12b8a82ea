// Checkpoints that a thread writes while training goes on.

#include "taper/nn/checkpoint/checkpoint_writer.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "taper/core/generator.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/training_state.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

TEST_CASE("a writer saves beside the thread that goes on, and says what became of it") {
  const TemporaryFolder folder;
  Checkpoint checkpoint;
  checkpoint.parts["model"].tensors["weight"] = ops::full({1000}, 5);
  CheckpointWriter writer(folder.path(), 2);
  CHECK_FALSE(writer.take(true));
  writer.start(checkpoint, 5, true);
  CHECK_THROWS_WITH(writer.start(checkpoint, 6, false), Contains("has not been taken"));
  const auto written = writer.take(true);
  REQUIRE(written);
  CHECK(written->error.empty());
  CHECK(written->step == 5);
  CHECK(written->path == folder / "step-00000005");
  CHECK(written->seconds > 0);
  CHECK(written->best);
  CHECK_FALSE(writer.is_busy());
  CHECK_FALSE(writer.take(true));
  CHECK(read_checkpoint(written->path).part("model").tensors.at("weight").numel() == 1000);

  std::filesystem::remove_all(folder.path());
  writer.start(checkpoint, 6, false);
  const auto failed = writer.take(true);
  REQUIRE(failed);
  CHECK(failed->path.empty());
  CHECK_THAT(failed->error, Contains(folder.path()));
}

TEST_CASE("what training changes while a checkpoint is written is not in it") {
  for (const Device device : test_devices()) {
    const TemporaryFolder folder;
    manual_seed(1);
    Linear model(50, 400);
    model.to(device);
    SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
    const auto update = [&] {
      for (const Tensor& parameter : model.parameters()) parameter.set_grad(ops::full_like(parameter, 1));
      optimizer.step();
    };
    update();
    TrainingState state(model);
    state.add_optimizer(optimizer);
    const auto weight = ops::to_vector<float>(model.weight);
    const auto buffer = ops::to_vector<float>(optimizer.state_dict().tensors.at("momentum_buffer.weight"));
    CheckpointWriter writer(folder.path(), 1);
    writer.start(state.snapshot(), 1, false);
    for (int i = 0; i < 20; ++i) update();
    const auto written = writer.take(true);
    REQUIRE(written);
    CHECK(ops::to_vector<float>(model.weight) != weight);
    const Checkpoint read = read_checkpoint(written->path);
    CHECK(ops::to_vector<float>(read.part("model").tensors.at("weight")) == weight);
    CHECK(ops::to_vector<float>(read.part("optimizer").tensors.at("momentum_buffer.weight")) == buffer);
    CHECK(read.part("optimizer").number("step.weight", "test") == 1);

    // The options of this run stand; what the optimiser remembers comes back.
    SGD other(model.named_parameters(), {.lr = 0.5, .momentum = 0.8});
    TrainingState restored(model);
    restored.add_optimizer(other);
    CHECK(restored.restore(read).empty());
    CHECK(other.lr() == 0.5);
    CHECK(other.options().momentum == 0.8);
    CHECK(ops::to_vector<float>(model.weight) == weight);
    CHECK(ops::to_vector<float>(other.state_dict().tensors.at("momentum_buffer.weight")) == buffer);
  }
}
