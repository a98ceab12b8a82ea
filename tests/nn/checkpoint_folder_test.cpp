// Checkpoints on disk: what is written is read, damage is noticed, and whatever happens one good one stands.

#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>

#include "child_process.h"
#include "file_bytes.h"
#include "taper/core/files/atomic_folder.h"
#include "taper/core/files/program.h"
#include "taper/nn/checkpoint/checkpoint_folder.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/random/random.h"
#include "temporary_folder.h"

using namespace taper;
using Catch::Contains;
namespace fs = std::filesystem;

namespace {

/// A checkpoint whose numbers and weights tell which one it is.
Checkpoint numbered(int64_t number, int64_t elements = 5) {
  Checkpoint checkpoint;
  checkpoint.parts["model"].tensors["weight"] = ops::full({elements}, double(number));
  checkpoint.parts["model"].tensors["count"] = ops::full({}, double(number), {.dtype = kInt64});
  checkpoint.parts["progress"].numbers["step"] = double(number);
  return checkpoint;
}

/// Returns which one it is, and that its parts agree.
int64_t number_of(const Checkpoint& checkpoint) {
  const auto number = int64_t(checkpoint.part("progress").number("step", "test"));
  for (const float value : ops::to_vector<float>(checkpoint.part("model").tensors.at("weight")))
    CHECK(value == float(number));
  return number;
}

std::vector<int64_t> steps_in(const CheckpointFolder& folder) {
  std::vector<int64_t> steps;
  for (const std::string& path : folder.list()) steps.push_back(number_of(read_checkpoint(path)));
  return steps;
}

std::string message_of(const std::string& path) {
  try {
    read_checkpoint(path);
  } catch (const FileError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a checkpoint is read as it was written") {
  const TemporaryFolder folder;
  manual_seed(7);
  Checkpoint written;
  written.parts["model"].tensors = {{"a.weight", ops::randn({3, 5})},
                                    {"b", ops::cast(ops::randn({4}), kBFloat16)},
                                    {"empty", empty({0, 2})},
                                    {"strided", ops::randn({4, 6}).transpose(0, 1)},
                                    {"steps", ops::full({}, 12, {.dtype = kInt64})}};
  const double third = 1.0 / 3, huge = std::numeric_limits<double>::max();
  written.parts["schedule"].numbers = {{"third", third},
                                       {"huge", -huge},
                                       {"tiny", 5e-324},
                                       {"inf", INFINITY},
                                       {"-inf", -INFINITY},
                                       {"zero", -0.0},
                                       {"whole", 9007199254740991.0}};
  written.parts["odd"].numbers = {{"nan", NAN}};
  written.parts["nothing"] = {};
  written.generator = {.seed = std::numeric_limits<uint64_t>::max(), .counter = uint64_t(1) << 63};
  written.options = {{"--data", "caf\xe9/\xff"}, {"--lr", "0.1"}};
  written.must_match = {{"--arch", "resnet50"}};
  written.description = {{"arch", "resnet50"}, {"class_names", "[\"a\\nb\"]"}};
  CheckpointFolder checkpoints(folder / "run/a");
  const std::string path = checkpoints.save(written, 12, true, 3);
  CHECK(path == folder / "run/a/step-00000012");

  const Checkpoint read = read_checkpoint(path);
  CHECK(read.parts.size() == 4);
  for (const auto& [name, tensor] : written.part("model").tensors) {
    INFO(name);
    const Tensor& found = read.part("model").tensors.at(name);
    CHECK(found.dtype() == tensor.dtype());
    CHECK(found.shape() == tensor.shape());
    CHECK(ops::to_vector<double>(ops::cast(found, kFloat64)) ==
          ops::to_vector<double>(ops::cast(tensor, kFloat64)));
  }
  CHECK(read.part("schedule").numbers == written.part("schedule").numbers);
  CHECK(std::signbit(read.part("schedule").numbers.at("zero")));
  CHECK(std::isnan(read.part("odd").numbers.at("nan")));
  CHECK(read.part("nothing").numbers.empty());
  CHECK(read.generator == written.generator);
  CHECK(read.must_match == written.must_match);
  CHECK(read.description == written.description);
  CHECK(read.options.at("--lr") == "0.1");
  CHECK(read.options.at("--data").starts_with("caf"));  // JSON holds UTF-8 only
  CHECK(load_safetensors(path + "/model.safetensors").metadata == written.description);
  CHECK_THROWS_WITH(read.part("ema"), Contains("no part 'ema'"));
}

TEST_CASE("a checkpoint that was damaged is refused in one line") {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path());
  const std::string path = checkpoints.save(numbered(3, 100), 3, false, 1);
  for (const char* name : {"checkpoint.json", "model.safetensors"}) {
    INFO(name);
    const std::string file = path + "/" + name;
    const std::string whole = read_bytes(file);
    for (size_t at = 0; at < whole.size(); at += 1 + whole.size() / 400) {
      std::string changed = whole;
      changed[at] = char(changed[at] ^ 1);
      write_bytes(file, changed);
      const std::string message = message_of(path);
      INFO("byte " << at << ": " << message);
      // White space between the fields of the index says nothing.
      if (message.empty())
        CHECK(number_of(read_checkpoint(path)) == 3);
      else
        CHECK_THAT(message, Contains(path) && !Contains("\n"));
      CHECK((!message.empty() || std::isspace(whole[at]) != 0));
      if (at + 1 == whole.size()) continue;  // a line feed
      write_bytes(file, whole.substr(0, at));
      CHECK_THAT(message_of(path), Contains(path));
    }
    fs::remove(file);
    CHECK_THAT(message_of(path), Contains(file));
    write_bytes(file, whole);
  }
  CHECK(number_of(read_checkpoint(path)) == 3);
}

TEST_CASE("a folder keeps the newest checkpoints and the best one") {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path());
  checkpoints.save(numbered(10), 10, true, 2);
  checkpoints.save(numbered(20), 20, true, 2);
  for (int64_t step = 30; step <= 60; step += 10) checkpoints.save(numbered(step), step, false, 2);
  CHECK(steps_in(checkpoints) == std::vector<int64_t>{20, 50, 60});
  CHECK(number_of(read_checkpoint(folder / "last")) == 60);
  CHECK(number_of(read_checkpoint(folder / "best")) == 20);
  CHECK(fs::read_symlink(folder / "last") == "step-00000060");

  // A run that goes on from step 20 makes steps of the same numbers, and those count as newer.
  const std::string again = checkpoints.save(numbered(60), 60, false, 2);
  CHECK(again == folder / "step-00000060.1");
  checkpoints.save(numbered(30), 30, true, 2);
  CHECK(steps_in(checkpoints) == std::vector<int64_t>{60, 30});
  CHECK(find_checkpoint(folder.path())->path == folder / "step-00000030");
  CHECK(number_of(read_checkpoint(folder / "best")) == 30);
  checkpoints.save(numbered(40), 40, false, 1);
  CHECK(steps_in(checkpoints) == std::vector<int64_t>{30, 40});
}

TEST_CASE("checkpoints that are not complete do not count among those to keep") {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path());
  for (int64_t step = 1; step <= 5; ++step) checkpoints.save(numbered(step), step, step == 1, 9);
  write_bytes(folder / "step-00000004/model.safetensors", "half");
  write_bytes(folder / "step-00000005/model.safetensors", "half");
  checkpoints.save(numbered(6), 6, false, 2);
  CHECK(steps_in(checkpoints) == std::vector<int64_t>{1, 3, 6});
  CHECK(read_checkpoint_order(folder / "best").complete);
}

TEST_CASE("a checkpoint's weights are those that were written") {
  const TemporaryFolder folder;
  Checkpoint checkpoint = numbered(1);
  checkpoint.parts["ema"] = checkpoint.parts["model"];
  CheckpointFolder(folder.path()).save(checkpoint, 1, true, 1);
  const std::string path = folder / "step-00000001";
  CHECK(checked_weights_file(path) == path + "/model.safetensors");
  CHECK(checked_weights_file(path, WeightsOf::kAverage) == path + "/ema.safetensors");
  CHECK(checked_weights_file(path + "/ema.safetensors") == path + "/ema.safetensors");
  CHECK_THROWS_WITH(checked_weights_file(folder.path()), Contains("name one of them"));
  fs::remove(path + "/ema.safetensors");
  CHECK_THROWS_AS(checked_weights_file(path, WeightsOf::kAverage), FileError);
  write_bytes(path + "/model.safetensors", "half");
  CHECK_THROWS_WITH(checked_weights_file(path), Contains("model.safetensors: damaged"));
}

TEST_CASE("weights that changed while they were copied and written are not kept") {
  const TemporaryFolder folder;
  CheckpointFolder checkpoints(folder.path());
  Checkpoint checkpoint = numbered(1);
  const Tensor weight = checkpoint.part("model").tensors.at("weight");
  checkpoint.expected = WeightsChecksum{.names = {"weight"}, .sum = weights_checksum({weight})};
  checkpoints.save(checkpoint, 1, false, 9);
  weight.data<float>()[3] = std::nextafter(weight.data<float>()[3], 9.0f);
  CHECK_THROWS_WITH(checkpoints.save(checkpoint, 2, false, 9), Contains("the weights changed in memory"));
  CHECK(steps_in(checkpoints) == std::vector<int64_t>{1});
  // Memory order does not matter, a bit does.
  const Tensor x = ops::randn({2, 3, 4, 5});
  CHECK(weights_checksum({x}) == weights_checksum({ops::contiguous(x, kChannelsLast)}));
  CHECK(weights_checksum({x, weight}) != weights_checksum({weight, x}));
}

TEST_CASE("the newest readable checkpoint is found, and what kept newer ones from it") {
  const TemporaryFolder folder;
  CHECK_FALSE(find_checkpoint(folder / "missing"));
  CHECK_FALSE(find_checkpoint(folder.path()));
  CheckpointFolder checkpoints(folder.path());
  CHECK_FALSE(find_checkpoint(folder.path()));
  for (int64_t step = 1; step <= 4; ++step) checkpoints.save(numbered(step), step, false, 9);
  write_bytes(folder / "step-00000004/model.safetensors", "half");
  write_bytes(folder / "step-00000003/checkpoint.json", "{}");
  std::ofstream(folder / "step-00000009");         // a file is no checkpoint
  fs::create_directory(folder / "step-00000008");  // and an empty folder is none
  const auto found = find_checkpoint(folder.path());
  REQUIRE(found);
  CHECK(found->path == folder / "step-00000002");
  CHECK(number_of(found->checkpoint) == 2);
  REQUIRE_FALSE(found->damaged.empty());
  CHECK_THAT(found->damaged[0], Contains("step-00000004") && Contains("4 bytes instead of"));
  CHECK(find_checkpoint(folder / "last/../step-00000001")->path == folder / "last/../step-00000001");
  CHECK_THROWS_WITH(find_checkpoint(folder / "last"), Contains("model.safetensors: damaged"));
  for (const char* step : {"1", "2"})
    write_bytes(folder / ("step-0000000" + std::string(step)) + "/model.safetensors", "");
  CHECK_THROWS_WITH(find_checkpoint(folder.path()), Contains("none of its 5 checkpoints can be read"));
}

TEST_CASE("one process at a time saves into a folder of checkpoints") {
  const TemporaryFolder folder;
  const CheckpointFolder mine(folder.path());
  CHECK_THROWS_WITH(CheckpointFolder(folder.path()),
                    Contains("saves its checkpoints there; name another folder"));
  std::ofstream(folder / "file");
  CHECK_THROWS_WITH(CheckpointFolder(folder / "file"), Contains("file: cannot be made"));
  CHECK_THROWS_WITH(CheckpointFolder(folder / "file/a"), Contains("file/a: cannot be made"));
}

TEST_CASE("a process killed at any moment of a save leaves a good checkpoint, and the next one cleans up") {
  const TemporaryFolder folder;
  { CheckpointFolder(folder.path()).save(numbered(1, 100000), 1, true, 1); }
  for (int tenths = 0; tenths < 12; ++tenths) {
    const test::ChildResult killed = test::run_in_child([&] {
      CheckpointFolder checkpoints(folder.path());
      const itimerval moment = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 100 + tenths * 500}};
      std::signal(SIGPROF, SIG_DFL);
      ::setitimer(ITIMER_PROF, &moment, nullptr);  // ends the process
      for (int64_t step = 2;; ++step) checkpoints.save(numbered(step, 100000), step, step % 3 == 0, 1);
    });
    CHECK(killed.signal == SIGPROF);
    const auto found = find_checkpoint(folder.path());
    REQUIRE(found);
    CHECK(found->damaged.empty());
    number_of(found->checkpoint);
    const CheckpointFolder next(folder.path());
    for (const std::string& name : folder.files()) CHECK_THAT(name, !Contains(".tmp"));
    for (const std::string& path : next.list()) CHECK(message_of(path).empty());
  }
}

TEST_CASE("a save that fails leaves the others as they are") {
  const TemporaryFolder folder;
  const test::ChildResult child = test::run_in_child([&] {
    start_program("test");  // files that outgrow their limit are errors
    CheckpointFolder checkpoints(folder.path());
    checkpoints.save(numbered(1, 100), 1, true, 1);
    const rlimit small = {.rlim_cur = 100000, .rlim_max = 100000};
    ::setrlimit(RLIMIT_FSIZE, &small);
    try {
      checkpoints.save(numbered(2, 100000), 2, true, 1);
    } catch (const FileError& error) {
      dprintf(STDERR_FILENO, "%s\n", error.what());
    }
    checkpoints.save(numbered(3, 100), 3, false, 1);
  });
  CHECK(child.exit_code == 0);
  CHECK_THAT(child.stderr_text, Contains("model.safetensors: cannot be written: File too large"));
  CHECK(number_of(read_checkpoint(folder / "best")) == 1);
  CHECK(number_of(read_checkpoint(folder / "last")) == 3);
  for (const std::string& name : folder.files()) CHECK_THAT(name, !Contains(".tmp"));
}

TEST_CASE("a folder appears whole or not at all") {
  const TemporaryFolder folder;
  {
    const AtomicFolder dropped(folder.path());
    std::ofstream(dropped.path() + "/half");
  }
  CHECK(folder.files().empty());
  AtomicFolder kept(folder.path());
  std::ofstream(kept.path() + "/whole") << "x";
  kept.commit("a");
  CHECK(folder.files() == std::vector<std::string>{"a"});
  AtomicFolder second(folder.path());
  CHECK_THROWS_WITH(second.commit("a"), Contains("/a: cannot be written: File exists"));
  AtomicFolder::remove(folder / "a");
  CHECK_THROWS_WITH(AtomicFolder::remove(folder / "a"), Contains("No such file"));
  CHECK_THROWS_WITH(AtomicFolder(folder / "missing"), Contains("missing: cannot be written"));
}
