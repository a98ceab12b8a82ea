// The versions of NVIDIA's libraries.

#include "taper/core/gpu/libraries.h"

#include <catch2/catch.hpp>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/vendor/engine_library.h"
#include "warnings.h"

using namespace taper;

TEST_CASE("a build names the libraries under its GPU") {
  const auto all = gpu::libraries();
  if (gpu::is_simulated()) {
    REQUIRE(all.empty());
    return;
  }
  std::vector<std::string> names;
  for (const auto& [name, version] : all) {
    INFO(name << " " << version);
    names.push_back(name);
    const bool number = version.find_first_not_of("0123456789.") == std::string::npos;
    const bool may_be_absent = name == "cuBLASLt" || name == "cuDNN" || name == "NCCL";
    const bool absent = version == "not in this build" || version == "not on this machine";
    REQUIRE((number || (may_be_absent && absent) ||
             (name == "CUDA driver" && version == "none" && gpu::device_count() == 0)));
  }
  REQUIRE(names == std::vector<std::string>{"CUDA runtime", "CUDA driver", "cuBLASLt", "cuDNN", "NCCL"});
}

TEST_CASE("the library of matrix products is opened where it is, with every function that is called") {
  std::string version;
  for (const gpu::Library& library : gpu::libraries())
    if (library.name == "cuBLASLt" && library.version.find(' ') == std::string::npos)
      version = library.version;
  const Warnings warnings;
  const auto library = ops::engine_library(ops::VendorLibrary::kCublaslt);
  if (version.empty()) {
    CHECK(library == nullptr);
    CHECK(warnings.texts.size() <= 1);  // "cuBLASLt cannot be used" where the build has it
  } else {
    INFO((warnings.texts.empty() ? "" : warnings.texts[0]));
    REQUIRE(library != nullptr);
    CHECK(library->name() == "cublaslt " + version);
  }
}
