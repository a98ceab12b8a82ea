// The ladder of the matrix product: c = a b for square row-major matrices, with 2 n^3 operations on every
// rung. The first five multiply in f32, the last two in bf16 with f32 sums. Kernels here take multiples of
// 128 and say so; the shipped ones at the end of each half take any size.
//
//   ladder_gemm [--size N] [--json FILE]

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <random>

#include "bench/ladder/ladder.h"
#include "taper/core/gpu/launch.h"
#include "taper/core/gpu/mma.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/gemm/gpu/gemm.h"

using namespace taper;

namespace {

// ---------------------------------------------------------------------------------- f32, ordinary cores

/// One thread for each element of c. Neighbouring threads compute elements of one column, so each load of a
/// by a warp touches 32 rows: 32 transactions for 128 useful bytes.
__global__ void naive(const float* a, const float* b, float* c, int n) {
  const int row = int(blockIdx.x * blockDim.x + threadIdx.x),
            column = int(blockIdx.y * blockDim.y + threadIdx.y);
  float sum = 0;
  for (int k = 0; k < n; ++k) sum += a[row * n + k] * b[k * n + column];
  c[row * n + column] = sum;
}

/// Neighbouring threads go along a row of c: a warp reads one element of a and one line of b.
__global__ void coalesced(const float* a, const float* b, float* c, int n) {
  const int row = int(blockIdx.y * blockDim.y + threadIdx.y),
            column = int(blockIdx.x * blockDim.x + threadIdx.x);
  float sum = 0;
  for (int k = 0; k < n; ++k) sum += a[row * n + k] * b[k * n + column];
  c[row * n + column] = sum;
}

constexpr int kTile = 32;

/// A block computes 32 x 32 elements and shares its rows of a and columns of b through shared memory. Each
/// element is read from device memory once for 32 uses.
__global__ void __launch_bounds__(kTile* kTile) tiled(const float* a, const float* b, float* c, int n) {
  __shared__ float tile_a[kTile][kTile], tile_b[kTile][kTile];
  const int x = int(threadIdx.x), y = int(threadIdx.y);
  const int row = int(blockIdx.y) * kTile + y, column = int(blockIdx.x) * kTile + x;
  float sum = 0;
  for (int k = 0; k < n; k += kTile) {
    tile_a[y][x] = a[row * n + k + x];
    tile_b[y][x] = b[(k + y) * n + column];
    __syncthreads();
    for (int i = 0; i < kTile; ++i) sum += tile_a[y][i] * tile_b[i][x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

/// A thread computes 8 x 8 elements: 16 reads of shared memory for 64 multiply-adds, where the rung before
/// needs 128. A block of 16 x 16 threads has a tile of 128 x 128.
__global__ void __launch_bounds__(256) register_blocked(const float* a, const float* b, float* c, int n) {
  constexpr int kBlock = 128, kDepth = 16, kSums = 8, kThreads = 16;
  __shared__ float tile_a[kDepth][kBlock + 1], tile_b[kDepth][kBlock];
  const int thread = int(threadIdx.x), x = thread % kThreads, y = thread / kThreads;
  const int first_row = int(blockIdx.y) * kBlock, first_column = int(blockIdx.x) * kBlock;
  float sums[kSums][kSums] = {};
  for (int k = 0; k < n; k += kDepth) {
    for (int i = thread; i < kBlock * kDepth; i += 256) {
      tile_a[i % kDepth][i / kDepth] = a[(first_row + i / kDepth) * n + k + i % kDepth];
      tile_b[i / kBlock][i % kBlock] = b[(k + i / kBlock) * n + first_column + i % kBlock];
    }
    __syncthreads();
    for (int l = 0; l < kDepth; ++l) {
      float left[kSums], right[kSums];
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        left[i] = tile_a[l][y + i * kThreads];
        right[i] = tile_b[l][x + i * kThreads];
      }
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
#pragma unroll
        for (int j = 0; j < kSums; ++j) sums[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
#pragma unroll
    for (int j = 0; j < kSums; ++j)
      c[(first_row + y + i * kThreads) * n + first_column + x + j * kThreads] = sums[i][j];
  }
}

// ----------------------------------------------------------------------------------- bf16, tensor cores

/// Four warps compute 64 x 64 elements, each of them 32 x 32 in pieces of 16 x 8 x 16. Tiles go to shared
/// memory through registers, and all threads wait for them.
__global__ void __launch_bounds__(128)
    tensor_cores(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* c, int n) {
  constexpr int kBlock = 64, kDepth = 32, kPad = 8;  // the padding puts a matrix's rows into different banks
  __shared__ __align__(16) __nv_bfloat16 tile_a[kBlock][kDepth + kPad], tile_b[kDepth][kBlock + kPad];
  using Vector = ops::Pack<__nv_bfloat16, 8>;
  const int thread = int(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int first_row = int(blockIdx.y) * kBlock, first_column = int(blockIdx.x) * kBlock;
  const int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
  gpu::FragmentC sums[2][4] = {};
  for (int k = 0; k < n; k += kDepth) {
    for (int i = thread * 8; i < kBlock * kDepth; i += 128 * 8) {
      *reinterpret_cast<Vector*>(&tile_a[i / kDepth][i % kDepth]) =
          *reinterpret_cast<const Vector*>(a + (first_row + i / kDepth) * n + k + i % kDepth);
      *reinterpret_cast<Vector*>(&tile_b[i / kBlock][i % kBlock]) =
          *reinterpret_cast<const Vector*>(b + (k + i / kBlock) * n + first_column + i % kBlock);
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < kDepth; l += 16) {
      gpu::FragmentA left[2];
      uint32_t right[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        gpu::load_matrices(left[i].x, &tile_a[warp_row + i * 16 + lane % 16][l + lane / 16 * 8]);
        gpu::load_matrices<true>(right[i], &tile_b[l + lane % 16][warp_column + i * 16 + lane / 16 * 8]);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t* x = right[j / 2] + j % 2 * 2;
          gpu::mma<__nv_bfloat16>(sums[i][j], left[i], gpu::FragmentB{{x[0], x[1]}});
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = first_row + warp_row + i * 16 + lane / 4;
      const int column = first_column + warp_column + j * 8 + lane % 4 * 2;
#pragma unroll
      for (int r = 0; r < 4; ++r) c[(row + r / 2 * 8) * n + column + r % 2] = __nv_bfloat16(sums[i][j].x[r]);
    }
  }
}

// ------------------------------------------------------------------------------------------ the ladder

/// Returns a matrix uniform in [-1, 1).
Tensor random_matrix(int64_t n, DType dtype, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<float> values(size_t(n * n));
  for (float& value : values) value = float(engine() >> 40) * 0x1p-23f - 1;
  return ops::cast(from_vector(values, {n, n}), dtype);
}

/// The operands and the result of one half of the ladder, and the true value of some elements.
struct Problem {
  int64_t n;
  DType dtype;
  Tensor a, b, c;
  std::vector<size_t> places;
  std::vector<double> truth;

  Problem(int64_t n_, DType dtype_) : n(n_), dtype(dtype_) {
    const Tensor host_a = random_matrix(n, dtype, 1), host_b = random_matrix(n, dtype, 2);
    const auto left = ops::to_vector<float>(host_a), right = ops::to_vector<float>(host_b);
    std::mt19937_64 engine(3);
    for (int i = 0; i < 1000; ++i) {
      const size_t place = engine() % size_t(n * n), row = place / size_t(n), column = place % size_t(n);
      double sum = 0;
      for (size_t k = 0; k < size_t(n); ++k)
        sum += double(left[row * size_t(n) + k]) * double(right[k * size_t(n) + column]);
      places.push_back(place);
      truth.push_back(sum);
    }
    a = host_a.to(Device("cuda"));
    b = host_b.to(Device("cuda"));
    c = empty({n, n}, {.dtype = dtype, .device = Device("cuda")});
  }

  /// Returns the largest error of those elements, relative to what f32 sums and one rounding to the dtype
  /// allow. Then poisons the result.
  double error() const {
    const auto values = ops::to_vector<float>(c);
    const double rounding = dtype == kBFloat16 ? 0x1p-8 : 0;
    double worst = 0;
    for (size_t i = 0; i < places.size(); ++i) {
      const double allowed =
          8 * std::sqrt(double(n)) * 0x1p-23 * std::sqrt(double(n)) + rounding * std::fabs(truth[i]);
      const double error = std::fabs(double(values[places[i]]) - truth[i]) / allowed;
      worst = error <= worst ? worst : error;  // NaN counts
    }
    gpu::fill_async(c.data_ptr(), 0xff, c.size_bytes(), gpu::current_stream());
    return worst;
  }
};

ladder::Ladder make_ladder(int64_t size) {
  const auto f32 = std::make_shared<const Problem>(size, kFloat32);
  const auto bf16 = std::make_shared<const Problem>(size, kBFloat16);
  const auto n = unsigned(size);
  const auto simple = [&](const char* name, void (*kernel)(const float*, const float*, float*, int),
                          unsigned tile, dim3 block) {
    return [=] {
      gpu::launch(name, kernel, {.grid = dim3(n / tile, n / tile), .block = block}, f32->a.data<float>(),
                  f32->b.data<float>(), f32->c.data<float>(), int(n));
    };
  };
  const auto unpipelined = [=] {
    const auto pointer = [](const Tensor& x) { return static_cast<__nv_bfloat16*>(x.data_ptr()); };
    gpu::launch("tensor_cores", tensor_cores, {.grid = dim3(n / 64, n / 64), .block = 128}, pointer(bf16->a),
                pointer(bf16->b), pointer(bf16->c), int(n));
  };
  const auto shipped = [](const std::shared_ptr<const Problem>& p) {
    return [p] {
      ops::gemm_gpu("matmul", {.dtype = p->dtype,
                               .sizes = {.m = p->n, .n = p->n, .k = p->n},
                               .a = {.data = p->a.data_ptr(), .stride = p->n},
                               .b = {.data = p->b.data_ptr(), .stride = p->n},
                               .c = {.data = p->c.data_ptr(), .stride = p->n}});
    };
  };
  const auto error = [](const std::shared_ptr<const Problem>& p) { return [p] { return p->error(); }; };
  const double work = 2 * std::pow(double(n), 3);
  const dim3 square(kTile, kTile);
  // For a and b, `bytes` for each multiply-add, and c written once, as a multiple of the three matrices.
  const auto traffic = [&](double bytes, DType dtype) {
    const double matrix = std::pow(double(n), 2) * double(size_of(dtype));
    return (bytes * std::pow(double(n), 3) + matrix) / (3 * matrix);
  };
  return {.title = fmt::format("matrix product, [{0}, {0}] x [{0}, {0}]", n),
          .unit = gpu::is_simulated() ? "GFLOP/s" : "TFLOP/s",
          .unit_size = gpu::is_simulated() ? 1e9 : 1e12,
          .rungs = {
              {"naive", "one thread an element, a warp down a column of c",
               simple("naive", naive, kTile, square), error(f32), work, traffic(33, kFloat32)},
              {"coalesced", "a warp along a row of c: its loads are whole lines",
               simple("coalesced", coalesced, kTile, square), error(f32), work, traffic(5, kFloat32)},
              {"tiled", "32 x 32 tiles in shared memory: each element is read once for 32 uses",
               simple("tiled", tiled, kTile, square), error(f32), work, traffic(8.0 / kTile, kFloat32)},
              {"register-blocked", "8 x 8 sums a thread: one read of shared memory for 4 multiply-adds",
               simple("register_blocked", register_blocked, 128, 256), error(f32), work,
               traffic(8.0 / 128, kFloat32)},
              {"overlapped", "as shipped for f32: 16-byte loads of the next tile while this one multiplies",
               shipped(f32), error(f32), work},
              {"tensor cores", "bf16 and mma: one instruction of a warp is 2048 multiply-adds", unpipelined,
               error(bf16), work, traffic(4.0 / 64, kBFloat16)},
              {"pipelined", "as shipped for bf16: asynchronous copies run two tiles ahead, swizzled",
               shipped(bf16), error(bf16), work},
          }};
}

}  // namespace

int main(int argc, char** argv) {
  return ladder::climb(argc, argv, {.simulated = 128, .hardware = 4096, .multiple = 128}, make_ladder);
}
