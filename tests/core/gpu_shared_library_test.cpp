// Libraries that are opened while the program runs. The C library stands in for a vendor's.

#include "taper/core/gpu/shared_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "taper/core/base/error.h"
#include "tests/support/child_process.h"
#include "tests/support/temporary_folder.h"

using namespace taper;

TEST_CASE("a library is opened by the first name that can be") {
  gpu::SharedLibrary library({"libtaper_no_such_library.so.1", "libm.so.6", "libc.so.6"});
  REQUIRE(library.failure().empty());
  REQUIRE(library.handle() != nullptr);
  double (*cosine)(double) = nullptr;
  library.find(cosine, "cos");
  REQUIRE(cosine != nullptr);
  CHECK(cosine(0.5) == std::cos(0.5));
  CHECK(library.failure().empty());
}

TEST_CASE("a missing library and a missing function are told in one line") {
  gpu::SharedLibrary missing({"libtaper_no_such_library.so.1", "libtaper_nor_this.so"});
  CHECK(missing.handle() == nullptr);
  CHECK_THAT(missing.failure(), Catch::StartsWith("libtaper_no_such_library.so.1"));
  CHECK(missing.failure().find('\n') == std::string::npos);
  void (*function)() = [] {};
  missing.find(function, "cos");
  CHECK(function == nullptr);

  gpu::SharedLibrary library({"libm.so.6"});
  library.find(function, "taper_no_such_function");
  CHECK(function == nullptr);
  CHECK(library.failure() == "libm.so.6 has no taper_no_such_function");
}

TEST_CASE("NVIDIA's libraries are looked for beside each other") {
  const auto names =
      gpu::nvidia_library_names("libm.so.6", "none", reinterpret_cast<const void*>(&std::strtod));
  REQUIRE(names.size() == 3);
  CHECK(names[0] == "libm.so.6");
  CHECK_THAT(names[1], Catch::EndsWith("/libm.so.6"));
  CHECK_THAT(names[2], Catch::EndsWith("/../../none/lib/libm.so.6"));
  CHECK(gpu::SharedLibrary({names[1]}).failure().empty());  // the mathematics library is beside the C library
}

TEST_CASE(
    "a neighbour that was opened by a relative path is found after the program has changed its folder") {
  const TemporaryFolder folder;
  Dl_info mathematics;
  gpu::SharedLibrary library({"libm.so.6"});
  REQUIRE(dladdr(dlsym(library.handle(), "cos"), &mathematics) != 0);
  std::filesystem::copy_file(mathematics.dli_fname, folder / "libneighbour.so");
  const test::ChildResult child = test::run_in_child([&] {
    std::filesystem::current_path(folder.path());
    void* const neighbour = dlopen("./libneighbour.so", RTLD_NOW | RTLD_LOCAL);
    TAPER_CHECK(neighbour != nullptr, "{}", dlerror());
    std::filesystem::current_path("/");
    const auto names = gpu::nvidia_library_names("libx.so", "none", dlsym(neighbour, "cos"));
    const std::string real = std::filesystem::canonical(folder.path()).string();
    TAPER_CHECK(
        names.size() == 3 && names[1] == real + "/libx.so" && names[2] == real + "/../../none/lib/libx.so",
        "{}", names.size() > 1 ? names[1] : "one name");
  });
  CHECK(child.stderr_text.empty());
  CHECK(child.exit_code == 0);
}
