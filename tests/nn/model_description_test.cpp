// What a file of weights says of its network.

#include "taper/nn/io/model_description.h"

#include <catch2/catch.hpp>

#include "taper/core/base/error.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"

using namespace taper;
using Catch::Contains;

TEST_CASE("a description of a model goes through a file") {
  const TemporaryFolder folder;
  for (const std::vector<std::string>& names :
       {std::vector<std::string>{"cat", "größe", "a\"b\\c\n\x1b", ""}, std::vector<std::string>{}}) {
    const ModelDescription description{
        .arch = "resnet18", .image_size = 32, .resize = 37, .class_names = names};
    save_safetensors(folder / "w", {{"x", ops::zeros({1})}}, description.to_metadata());
    CHECK(model_description(load_safetensors(folder / "w").metadata) == description);
  }
}

TEST_CASE("a description's names of classes become UTF-8") {
  const ModelDescription description{.arch = "resnet18", .class_names = {"a\xff"}};
  CHECK(model_description(description.to_metadata())->class_names == std::vector<std::string>{"a\uFFFD"});
}

TEST_CASE("a file may have no description, or one that is none") {
  CHECK(model_description({}) == std::nullopt);
  CHECK(model_description({{"format", "pt"}}) == std::nullopt);
  CHECK(model_description({{"arch", "resnet18"}}) == std::nullopt);  // another program's
  const Metadata whole = ModelDescription{.arch = "resnet18", .class_names = {"a"}}.to_metadata();
  REQUIRE(model_description(whole));
  for (const char* name : {"image_size", "resize", "class_names"}) {
    Metadata part = whole;
    part.erase(name);
    CHECK_THROWS_WITH(model_description(part), Contains("has no ") && Contains(name));
  }
  for (const char* name : {"image_size", "resize"}) {
    for (const char* text : {"", "0", "-1", "65537", "224x", " 224", "1e2", "99999999999"}) {
      Metadata wrong = whole;
      wrong[name] = text;
      CHECK_THROWS_WITH(model_description(wrong), Contains(name) && Contains("no size in pixels"));
    }
  }
  for (const char* text : {"", "{}", "[1]", "[\"a\"", "\"a\"", "[null]"}) {
    Metadata wrong = whole;
    wrong["class_names"] = text;
    CHECK_THROWS_WITH(model_description(wrong), Contains("class_names"));
  }
}
