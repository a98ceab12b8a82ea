// The versions of NVIDIA's libraries.

#include "taper/core/gpu/libraries.h"

#include <catch2/catch.hpp>

#include "taper/core/gpu/runtime.h"

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
