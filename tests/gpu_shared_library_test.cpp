// Libraries that are opened while the program runs. The C library stands in for a vendor's.

#include "taper/core/gpu/shared_library.h"

#include <catch2/catch.hpp>
#include <cmath>

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
