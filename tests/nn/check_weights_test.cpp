// Ranks whose weights are no longer equal.

#include "taper/nn/parallel/check_weights.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "ranks.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/parallel/distributed_data_parallel.h"
#include "taper/nn/train/run_checkpoints.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

using namespace taper;

namespace {

struct TwoLayers : Module {
  Linear& first = register_module<Linear>("first", 7, 11);
  Linear& second = register_module<Linear>("second", 11, 6);
  Tensor operator()(const Tensor& x) { return second(relu(first(x))); }
};

}  // namespace

TEST_CASE("a rank whose weights are spoilt at any moment is named") {
  for (int seed = 0; seed < 12; ++seed) {
    const int victim = seed % 3, step_of_fault = seed % 4;
    const bool to_nan = seed % 2 == 0;
    const auto errors = in_ranks(3, [&](ProcessGroup& group) {
      TwoLayers net;
      DistributedDataParallel parallel(net, group);
      SGD optimizer(net.named_parameters(), {.lr = 0.01});
      for (int step = 0; step <= step_of_fault; ++step) {
        check_weights(net, group);
        optimizer.zero_grad();
        net(ops::full({2, 7}, double(group.rank()))).sum().backward();
        optimizer.step();
        if (step < step_of_fault || group.rank() != victim) continue;
        const NoGradGuard no_grad;
        ops::fill_(net.second.weight.select(0, seed % 5), to_nan ? NAN : 1.5);
      }
      check_weights(net, group);
    });
    CAPTURE(seed, victim);
    for (const std::string& error : errors)
      CHECK(error ==
            fmt::format("the ranks' weights have drifted apart: second.weight of rank {} is not that "
                        "of the others",
                        victim));
  }
}

TEST_CASE("what a broken rank has spoilt is not saved") {
  for (const int victim : {0, 1, 2}) {
    const TemporaryFolder folder;
    const auto errors = in_ranks(3, [&](ProcessGroup& group) {
      TwoLayers net;
      for (const Tensor& x : net.parameters()) ops::fill_(x.detach(), 0.5);
      SGD optimizer(net.named_parameters(), {.lr = 0.01});
      TrainingState state(net);
      state.add_optimizer(optimizer);
      std::optional<CheckpointWriter> writer;
      if (group.rank() == 0) writer.emplace(folder.path(), 9);
      TrainingRun run;
      RunCheckpoints checkpoints(writer ? &*writer : nullptr, state, group, {.steps = 1});
      TrainProgress progress;
      progress.step = 1;
      checkpoints.save(run, progress);
      if (group.rank() == victim) ops::fill_(net.second.bias.detach(), 7);
      progress.step = 2;
      checkpoints.save(run, progress);
    });
    for (const std::string& error : errors)
      CHECK_THAT(error,
                 Catch::Contains(fmt::format("second.bias of rank {} is not that of the others", victim)));
    const auto found = find_checkpoint(folder.path());
    REQUIRE(found);
    CHECK(found->checkpoint.part("progress").numbers.at("step") == 1);
    CHECK(ops::to_vector<double>(found->checkpoint.part("model").tensors.at("second.bias"))[0] == 0.5);
  }
}

TEST_CASE("of two ranks that differ nobody knows which is wrong; rounding is no fault") {
  const auto errors = in_ranks(2, [](ProcessGroup& group) {
    const NoGradGuard no_grad;
    TwoLayers net;
    for (const Tensor& x : net.parameters()) ops::fill_(x, 0.5 + group.rank() * 1e-6);
    check_weights(net, group);
    ops::fill_(net.first.bias, 0.5 + group.rank());
    check_weights(net, group);
  });
  for (const std::string& error : errors)
    CHECK(error ==
          "the ranks' weights have drifted apart: first.bias of rank 1 is not that of the others; one of two "
          "ranks is "
          "wrong");
}
