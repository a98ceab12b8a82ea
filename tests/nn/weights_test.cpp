// A state dict, wherever a file keeps it.

#include "taper/nn/io/weights.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "file_bytes.h"
#include "pickle_values.h"
#include "taper/nn/io/pytorch_file.h"
#include "taper/nn/io/safetensors.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"
#include "tests/support/test_folders.h"

namespace taper {
namespace {

using Catch::Contains;
using Dict = PickleValue::Dict;

std::vector<std::string> names_of(const StateDict& state) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state.tensors) names.push_back(name);
  return names;
}
using Names = std::vector<std::string>;

const Tensor kOne = ops::full({1}, 1), kTwo = ops::full({1}, 2);

TEST_CASE("weights: the content of a file decides its format, not its name") {
  const TemporaryFolder folder;
  const TensorMap tensors = {{"a", kOne}, {"b", kTwo}};
  save_pytorch(folder / "weights.safetensors", tensors);
  save_safetensors(folder / "weights.pth", tensors);
  for (const char* name : {"weights.safetensors", "weights.pth"}) {
    const StateDict file = load_weights(folder / name);
    CHECK(names_of(file) == Names{"a", "b"});
    CHECK(are_equal(file.at("b"), kTwo));
  }
  CHECK(names_of(load_weights(test_data_folder() + "/pytorch/checkpoint-1.13-old.pth")) ==
        Names{"bias", "weight"});

  // A header of this size makes a safetensors file begin as a pickle does.
  const std::string header = R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const uint64_t length = 0x80;
  write_bytes(folder / "begins_so", std::string(reinterpret_cast<const char*>(&length), sizeof length) +
                                        header + std::string(length - header.size(), ' ') + "\7");
  CHECK(load_weights(folder / "begins_so").at("x").item<int>() == 7);

  CHECK_THROWS_WITH(load_weights(folder / "none"), Contains("none: cannot be read"));
  write_bytes(folder / "text", "a text that is longer than eight bytes");
  CHECK_THROWS_WITH(load_weights(folder / "text"), Contains("text: not a safetensors file"));
  save_pytorch(folder / "number.pth", PickleValue(5));
  CHECK_THROWS_WITH(load_weights(folder / "number.pth"),
                    folder / "number.pth" + ": no state dict was saved, but the number 5");
  CHECK_THROWS_AS(load_weights(folder / "number.pth"), FileError);
}

TEST_CASE("weights: those in a checkpoint's folder") {
  const TemporaryFolder folder;
  const std::string checkpoint = folder / "step-20", file = checkpoint + "/model.safetensors";
  std::filesystem::create_directory(checkpoint);
  CHECK_THROWS_WITH(load_weights(checkpoint), Contains("step-20/model.safetensors: cannot be read"));
  save_safetensors(file, {{"a", kOne}});
  CHECK(are_equal(load_weights(checkpoint).at("a"), kOne));
  CHECK(weights_file(checkpoint, WeightsOf::kAverage) == file);  // there is no average
  save_safetensors(checkpoint + "/ema.safetensors", {{"a", kTwo}});
  CHECK(are_equal(load_weights(checkpoint).at("a"), kOne));
  CHECK(are_equal(load_weights(weights_file(checkpoint, WeightsOf::kAverage)).at("a"), kTwo));
  CHECK(weights_file(file, WeightsOf::kAverage) == file);  // who names a file means it
}

TEST_CASE("weights: the state dict in a checkpoint") {
  const PickleValue inner = Dict{{"a", kOne}, {"b", kTwo}};
  for (const char* key : {"state_dict", "model_state_dict", "model"}) {
    const StateDict state = state_dict_of(Dict{{"epoch", 3}, {key, inner}, {"best", kOne}});
    CHECK(names_of(state) == Names{"a", "b"});
    CHECK(state.left_out == Names{"epoch", "best"});
  }
  CHECK(names_of(state_dict_of(Dict{{"model", Dict{{"state_dict", inner}}}})) == Names{"a", "b"});
  CHECK(names_of(state_dict_of(Dict{{"model", 5}, {"a", kOne}})) == Names{"a"});
  const StateDict mixed =
      state_dict_of(Dict{{"a", kOne}, {"b", ForeignTensor{"int8", {2}}}, {"c", 5}, {7, kTwo}});
  CHECK(names_of(mixed) == Names{"a"});
  CHECK(mixed.unreadable == std::map<std::string, ForeignTensor>{{"b", {"int8", {2}}}});
  CHECK(mixed.left_out == Names{"c", "7"});
  CHECK(mixed.tensors_for({{"a", kOne}}).size() == 1);
  CHECK_THROWS_WITH(mixed.tensors_for({{"b", kOne}}), Contains("'b' has dtype int8"));
  CHECK(state_dict_of(Dict{}).tensors.empty());

  CHECK_THROWS_WITH(state_dict_of(PickleValue::List{kOne}), "no state dict was saved, but a list of 1");
  CHECK_THROWS_WITH(state_dict_of(Dict{{"encoder", inner}, {"decoder", inner}}),
                    Contains("a dict of 'encoder', 'decoder', and no tensors in it"));
}

TEST_CASE("weights: prefixes of names") {
  const auto names = [](const PickleValue& saved, const std::string& prefix = "") {
    return names_of(state_dict_of(saved, {.strip_prefix = prefix}));
  };
  CHECK(names(Dict{{"module.a", kOne}, {"module.b", kTwo}, {"epoch", 1}}) == Names{"a", "b"});
  CHECK(names(Dict{{"module.a", kOne}, {"b", kTwo}}) == Names{"b", "module.a"});
  CHECK(names(Dict{{"module.a", kOne}, {"b", kTwo}}, "module.") == Names{"a", "b"});
  CHECK(names(Dict{{"model.a", kOne}, {"model.b", kTwo}}) == Names{"model.a", "model.b"});
  CHECK(names(Dict{{"model.a", kOne}, {"model.b", kTwo}}, "model.") == Names{"a", "b"});
  CHECK_THROWS_WITH(names(Dict{{"module.a", kOne}, {"a", kTwo}}, "module."),
                    "without 'module.' two tensors are called 'a'");
}

}  // namespace
}  // namespace taper
