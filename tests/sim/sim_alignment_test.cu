// The simulated GPU reports every access that a real one would fault on because of its address. Each case
// makes one access in one thread, and sees it reported with what it needs and where it is.

#include <catch2/catch.hpp>
#include <csignal>

#include "taper/core/gpu/async_copy.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/mma.h"
#include "taper/core/gpu/wide_store.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "tests/support/fault_report.h"
#include "tests/support/gpu_array.h"

using namespace taper;
using Catch::Contains;
using test::DeviceArray;
using test::fault_report;

namespace {

using Float32x4 = ops::Pack<float, 4>;
using Half8 = ops::Pack<__half, 8>;
struct Floats {
  float values[4];
};

// In all kernels, `at` is the address of the access under test, and `other` is an aligned address for the
// other side.

__device__ bool is_chosen() {
  return blockIdx.x == 1 && threadIdx.x == 3;
}

constexpr int kLoad = __LINE__ + 3;
template <class T>
__global__ void load(char* at, char* other) {
  if (is_chosen()) *reinterpret_cast<T*>(other) = *reinterpret_cast<const T*>(at);
}

constexpr int kStore = __LINE__ + 3;
template <class T>
__global__ void store(char* at, char* other) {
  if (is_chosen()) *reinterpret_cast<T*>(at) = *reinterpret_cast<const T*>(other);
}

constexpr int kMember = __LINE__ + 2;
__global__ void load_member(char* at, char* other) {
  if (is_chosen()) *reinterpret_cast<float*>(other) = reinterpret_cast<const float4*>(at)->z;
}

constexpr int kCached = __LINE__ + 2;
__global__ void load_cached(char* at, char* other) {
  if (is_chosen()) *reinterpret_cast<int2*>(other) = __ldg(reinterpret_cast<const int2*>(at));
}

constexpr int kStream = __LINE__ + 2;
__global__ void store_streaming(char* at, char*) {
  if (is_chosen()) __stcs(reinterpret_cast<float2*>(at), make_float2(1, 2));
}

constexpr int kWide = __LINE__ + 2;
__global__ void store_wide(char* at, char* other) {
  if (is_chosen()) gpu::store_16_bytes(at, *reinterpret_cast<const Floats*>(other));
}

constexpr int kAdd = __LINE__ + 3;
template <class T>
__global__ void add(char* at, char*) {
  if (is_chosen()) atomicAdd(reinterpret_cast<T*>(at), T{});
}

constexpr int kSwap = __LINE__ + 2;
__global__ void compare_and_swap(char* at, char*) {
  if (is_chosen()) atomicCAS(reinterpret_cast<unsigned long long*>(at), 0ull, 1ull);
}

constexpr int kCopy = __LINE__ + 3;
__global__ void copy_to_shared(char* at, char*) {
  float* shared = gpu::dynamic_shared<float>();
  if (is_chosen()) gpu::async_copy<16>(shared, at);
  gpu::async_copy_commit();
  gpu::async_copy_wait<0>();
}

constexpr int kShared = __LINE__ + 4;
__global__ void load_shared(char* at, char* other) {
  char* shared = gpu::dynamic_shared<char>();
  const auto bytes = reinterpret_cast<uintptr_t>(at) % 64;
  if (is_chosen()) *reinterpret_cast<double*>(other) = *reinterpret_cast<const double*>(shared + bytes);
}

constexpr int kMatrix = __LINE__ + 4;
__global__ void load_matrix(char* at, char*) {
  uint32_t rows[1];
  const auto bytes = is_chosen() ? reinterpret_cast<uintptr_t>(at) % 64 : 0;
  gpu::load_matrices(rows, gpu::dynamic_shared<char>() + bytes);
}

struct AccessCase {
  const char* name;
  void (*kernel)(char*, char*);
  size_t alignment;
  int line;
};

const AccessCase kCases[] = {
    {"a float", load<float>, 4, kLoad},
    {"a double", load<double>, 8, kLoad},
    {"a half", load<__half>, 2, kLoad},
    {"an int64", store<int64_t>, 8, kStore},
    {"an int2", load<int2>, 8, kLoad},
    {"a float4", load<float4>, 16, kLoad},
    {"a float4, stored", store<float4>, 16, kStore},
    {"a pack of f32", load<Float32x4>, 16, kLoad},
    {"a pack of f32, stored", store<Float32x4>, 16, kStore},
    {"a pack of f16", load<Half8>, 16, kLoad},
    {"a pack of f16, stored", store<Half8>, 16, kStore},
    {"a member of a float4", load_member, 16, kMember},
    {"__ldg", load_cached, 8, kCached},
    {"__stcs", store_streaming, 8, kStream},
    {"store_16_bytes", store_wide, 16, kWide},
    {"atomicAdd of f32", add<float>, 4, kAdd},
    {"atomicAdd of int", add<int>, 4, kAdd},
    {"atomicAdd of f64", add<double>, 8, kAdd},
    {"atomicAdd of f16", add<__half>, 2, kAdd},
    {"atomicAdd of pairs of f16", add<__half2>, 4, kAdd},
    {"atomicCAS", compare_and_swap, 8, kSwap},
    {"an asynchronous copy", copy_to_shared, 16, kCopy},
    {"shared memory", load_shared, 8, kShared},
    {"a row of load_matrices", load_matrix, 16, kMatrix},
};

std::string report_at(const AccessCase& access, char* data, size_t offset) {
  return fault_report([&] {
    gpu::launch(access.name, access.kernel, {.grid = 2, .block = 32, .dynamic_shared_bytes = 256},
                data + offset, data + 128);
  });
}

}  // namespace

TEST_CASE("an access at an address that is no multiple of its size is reported with its line") {
  const DeviceArray<char> data(256);
  gpu::fill_async(data.data(), 0, data.size_bytes(), gpu::current_stream());
  for (const AccessCase& access : kCases) {
    CAPTURE(access.name);
    REQUIRE(report_at(access, data.data(), access.alignment) == "nothing reported");
    for (size_t offset = access.alignment / 2; offset < access.alignment; offset += 3) {
      CAPTURE(offset);
      REQUIRE_THAT(report_at(access, data.data(), offset),
                   Contains("misaligned address") &&
                       Contains("requires " + std::to_string(access.alignment) + " byte alignment") &&
                       Contains("sim_alignment_test.cu:" + std::to_string(access.line)));
    }
  }
}

#if !defined(__SANITIZE_ADDRESS__)  // UBSan knows no threads and no blocks of memory
TEST_CASE("the report of a misaligned access names the thread and the memory") {
  const DeviceArray<char> data(256);
  REQUIRE_THAT(report_at({"load", load<float4>, 16, kLoad}, data.data(), 8),
               Contains("float4'") && Contains("8 bytes into a 256-byte block on cuda:0") &&
                   Contains("kernel load, block (1, 0, 0), thread (3, 0, 0)"));
  REQUIRE_THAT(report_at({"load_shared", load_shared, 8, kShared}, data.data(), 4),
               Contains("4 bytes into dynamic shared memory") &&
                   Contains("kernel load_shared, block (1, 0, 0), thread (3, 0, 0)"));
}
#endif

TEST_CASE("outside kernels a misaligned access ends the process, and an atomic throws") {
  alignas(16) char memory[32] = {};
  const auto child = test::run_in_child([&] {
    signal(SIGABRT, SIG_DFL);  // the test framework's own handler
    volatile size_t offset = 4;
    *reinterpret_cast<double*>(memory + offset) = 1;
  });
  CAPTURE(child.stderr_text);
  REQUIRE((child.signal == SIGABRT || child.exit_code != 0));
  REQUIRE_THAT(child.stderr_text, Contains("misaligned address") && Contains("requires 8 byte alignment") &&
                                      Contains("sim_alignment_test.cu:"));
  REQUIRE_THROWS_WITH(atomicAdd(reinterpret_cast<int*>(memory + 1), 1), Contains("misaligned address"));
}
