# Build-wide settings: language level, warnings, sanitizers, instruction set, ccache.

option(TAPER_BUILD_PROGRAMS "Build examples, benchmarks and tests" ${PROJECT_IS_TOP_LEVEL})
set(TAPER_TEST_FILES "" CACHE STRING "Build and run only tests/ROOM/NAME_test.*, for NAMEs that match this expression")
option(TAPER_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)
set(TAPER_GPU "sim" CACHE STRING "The GPU: sim (simulated on the CPU) or cuda (real, needs nvcc)")
set_property(CACHE TAPER_GPU PROPERTY STRINGS sim cuda)
if(NOT TAPER_GPU MATCHES "^(sim|cuda)$")
  message(FATAL_ERROR "TAPER_GPU is '${TAPER_GPU}'; it must be sim or cuda")
endif()
option(TAPER_SIM_RACES "Watch every memory access of the simulated GPU's kernels for races" OFF)
if(TAPER_SIM_RACES AND (TAPER_SANITIZE OR NOT TAPER_GPU STREQUAL "sim"))
  message(FATAL_ERROR "TAPER_SIM_RACES needs TAPER_GPU=sim and no TAPER_SANITIZE")
endif()
# Files with kernels only; linked with core/gpu/sim/race.cpp instead of the sanitizer's runtime.
set(TAPER_RACE_FLAGS -fsanitize=thread --param=tsan-distinguish-volatile=1 -Wno-tsan -g)
set(TAPER_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize= (address,undefined or thread)")
option(TAPER_FUZZ "Build the fuzz targets of tests/fuzz with libFuzzer, and nothing else (clang)" OFF)
if(TAPER_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TAPER_FUZZ needs clang: cmake --preset fuzz")
  endif()
  set(TAPER_SANITIZE fuzzer-no-link,address,undefined)
endif()
# GPUs fault on misaligned accesses, x86 does not: the compiler tests the addresses that kernels use, and calls
# core/gpu/sim/alignment.cpp instead of the sanitizer's runtime. Builds with that runtime have its own flags.
set(TAPER_ALIGNMENT_FLAGS "")
if(TAPER_GPU STREQUAL "sim" AND NOT TAPER_SANITIZE MATCHES "undefined|alignment")
  set(TAPER_ALIGNMENT_FLAGS -fsanitize=alignment -fno-sanitize-recover=alignment)
endif()
set(TAPER_MARCH "" CACHE STRING "The one CPU to build for, as for -march= (native); empty: programs that run on every CPU")

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

# Everything Taper itself compiles gets these; consumers inherit only the language level.
add_library(taper_build_flags INTERFACE)
target_compile_features(taper_build_flags INTERFACE cxx_std_20)
set(taper_flags
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-psabi
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> # GCC 12 warns of `"text" + std::string` (GCC bug 105651)
  # These warn about headers only, and a unity build includes its files like headers.
  $<$<BOOL:${CMAKE_UNITY_BUILD}>:-Wno-subobject-linkage>
  $<$<BOOL:${TAPER_WARNINGS_AS_ERRORS}>:-Werror>
  $<$<BOOL:${TAPER_MARCH}>:-march=${TAPER_MARCH}>
  # Reassociation must stay off: results may not depend on vector width or thread count.
  -fno-math-errno -fno-trapping-math)
target_compile_options(taper_build_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${taper_flags}>")

if(TAPER_GPU STREQUAL "cuda")
  option(TAPER_CUDA_LINE_INFO "Let profilers name the source lines of kernels" ON)
  option(TAPER_CUDA_COMPRESS "Compress the code of kernels as far as nvcc can: programs four times smaller" OFF)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
  if(NOT CMAKE_CUDA_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CURRENT_LIST_DIR}/record_ptxas.sh)
    if(TAPER_CCACHE)
      if(NOT TAPER_CUDA_LINE_INFO) # line information holds paths, and another checkout's would be wrong here
        list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR})
      endif()
      list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${TAPER_CCACHE})
    endif()
  endif()
  enable_language(CUDA)
  set(CMAKE_INCLUDE_SYSTEM_FLAG_CUDA "-isystem ") # ccache takes no path out of -isystem=FOLDER, so checkouts shared nothing
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 does not know that nvcc speaks C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  endif()
  # fmt 9 switches its constexpr off for nvcc, and then no format string can be checked at compile time.
  target_compile_definitions(taper_build_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
  target_link_options(taper_build_flags INTERFACE LINKER:--as-needed) # a program loads only the libraries it uses
  set(taper_cuda_flags
    -Xcompiler=-Wall -Xptxas=-v
    $<$<BOOL:${TAPER_CUDA_LINE_INFO}>:-lineinfo>
    $<$<BOOL:${TAPER_CUDA_COMPRESS}>:--compress-mode=size>
    $<$<BOOL:${TAPER_WARNINGS_AS_ERRORS}>:-Werror=all-warnings>)
  target_compile_options(taper_build_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${taper_cuda_flags}>")
endif()

if(TAPER_SANITIZE)
  add_compile_options(-fsanitize=${TAPER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
                      # False positives under sanitizers, as GCC documents; its own AVX-512 header has them.
                      -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${TAPER_SANITIZE})
endif()
