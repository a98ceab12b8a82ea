# Build-wide settings: language level, warnings, sanitizers, instruction set, ccache.

option(TAPER_BUILD_PROGRAMS "Build examples, benchmarks and tests" ${PROJECT_IS_TOP_LEVEL})
option(TAPER_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)
set(TAPER_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined or thread)")
set(TAPER_MARCH "native" CACHE STRING
    "CPU to build for, as for -march= (native, or x86-64-v3 for binaries that travel)")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(TAPER_CCACHE ccache)
if(TAPER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The base folder lets several checkouts share results, the sloppiness lets precompiled headers be cached.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${TAPER_CCACHE})
endif()

# -Wno-restrict: GCC 12 warns about std::string in its own headers (GCC bug 105651).
# Everything Taper itself compiles gets these; consumers inherit only the language level.
add_library(taper_build_flags INTERFACE)
target_compile_features(taper_build_flags INTERFACE cxx_std_20)
target_compile_options(taper_build_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-psabi
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> # GCC 12 warns of `"text" + std::string` (GCC bug 105651)
  $<$<BOOL:${TAPER_WARNINGS_AS_ERRORS}>:-Werror>
  $<$<BOOL:${TAPER_MARCH}>:-march=${TAPER_MARCH}>)
# Reassociation must stay off: results may not depend on vector width or thread count.
target_compile_options(taper_build_flags INTERFACE -fno-math-errno -fno-trapping-math)

if(TAPER_SANITIZE)
  add_compile_options(-fsanitize=${TAPER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
                      -Wno-maybe-uninitialized) # GCC's documentation: false positives under sanitizers
  add_link_options(-fsanitize=${TAPER_SANITIZE})
endif()
