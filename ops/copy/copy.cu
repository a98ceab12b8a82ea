#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/conversion_type.h"
#include "taper/ops/copy/copy_gpu.h"
#include "taper/ops/copy/strided_gpu.cuh"
#include "taper/ops/element_width.h"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ kernels

/// dst = src, converted through T. One thread for each pack of 4, 256 to a block. Reads and writes every
/// element once; limited by memory bandwidth.
template <class T>
__global__ void __launch_bounds__(kLoopBlock) copy_converted(GpuLoop<2> loop) {
  constexpr int kPack = 4;
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * kPack;
  if (first >= loop.numel) return;
  const int count = min(kPack, int(loop.numel - first));
  T values[kPack];
  load_pack(loop, loop.operands[1], first, count, values);
  store_pack(loop, loop.operands[0], first, count, values);
}

/// dst = value. One thread for each pack of 4, 256 to a block. Writes every element once; limited by memory
/// bandwidth.
template <class T>
__global__ void __launch_bounds__(kLoopBlock) fill(GpuLoop<1> loop, T value) {
  constexpr int kPack = 4;
  const uint32_t first = (blockIdx.x * blockDim.x + threadIdx.x) * kPack;
  if (first >= loop.numel) return;
  const T values[kPack] = {value, value, value, value};
  store_pack(loop, loop.operands[0], first, min(kPack, int(loop.numel - first)), values);
}

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // threads along a tile's other side

/// For each plane, dst[c][r] = src[r][c]: src's columns and dst's rows are contiguous. A block of 32 x 8
/// threads moves one 32 x 32 tile through shared memory, so that both sides are touched in rows of 32. Reads
/// and writes every element once; limited by memory bandwidth. The column of padding puts the tile's columns
/// into different banks (Ruetsch and Micikevicius, "Optimizing matrix transpose in CUDA", 2009). NCHW to NHWC
/// is this with r = channel and c = pixel.
template <class T>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_planes(const T* src, T* dst, int rows, int columns, int64_t src_row, int64_t dst_row,
                     int64_t src_plane, int64_t dst_plane) {
  __shared__ T tile[kTile][kTile + 1];
  const int first_column = int(blockIdx.x) * kTile, first_row = int(blockIdx.y) * kTile;
  src += blockIdx.z * src_plane;
  dst += blockIdx.z * dst_plane;
  for (int i = int(threadIdx.y); i < kTile; i += kTileRows) {
    const int row = first_row + i, column = first_column + int(threadIdx.x);
    if (row < rows && column < columns) tile[i][threadIdx.x] = src[row * src_row + column];
  }
  __syncthreads();
  for (int i = int(threadIdx.y); i < kTile; i += kTileRows) {
    const int row = first_row + int(threadIdx.x), column = first_column + i;
    if (row < rows && column < columns) dst[column * dst_row + row] = tile[threadIdx.x][i];
  }
}

// ------------------------------------------------------------------------------------------ choosing

/// Launches transpose_planes if the loop is a batch of transpositions with at most one other dimension.
/// Returns whether it is.
bool copy_transposed(const StridedLoop& loop, size_t element_bytes) {
  const int64_t dims = loop.shape.size(), inner = dims - 1;
  const LoopOperand& dst = loop.operands[0];
  const LoopOperand& src = loop.operands[1];
  if (dims < 2 || dims > 3 || dst.strides[inner] != 1 || src.strides[inner] <= 1) return false;
  const int64_t axis = src.strides[inner - 1] == 1 ? inner - 1 : src.strides[0] == 1 ? 0 : -1;
  if (axis < 0) return false;
  const int64_t plane_axis = dims == 2 ? -1 : 1 - axis;
  const int64_t rows = loop.shape[inner], columns = loop.shape[axis];
  const int64_t planes = plane_axis < 0 ? 1 : loop.shape[plane_axis];
  const int64_t row_tiles = ceil_div(rows, kTile), column_tiles = ceil_div(columns, kTile);
  constexpr int64_t kMaxGrid = 65535;  // along y and z
  if (planes > kMaxGrid || row_tiles > kMaxGrid || column_tiles > INT32_MAX / kTile) return false;
  dispatch_width(element_bytes, [&]<class T>() {
    gpu::launch("transpose_planes", transpose_planes<T>,
                {.grid = dim3(unsigned(column_tiles), unsigned(row_tiles), unsigned(planes)),
                 .block = dim3(kTile, kTileRows)},
                reinterpret_cast<const T*>(src.data), reinterpret_cast<T*>(dst.data), int(rows), int(columns),
                src.strides[inner], dst.strides[axis], plane_axis < 0 ? 0 : src.strides[plane_axis],
                plane_axis < 0 ? 0 : dst.strides[plane_axis]);
  });
  return true;
}

/// Returns the integer dtype that moves the bits of `dtype` unchanged; bool and u8 themselves.
DType bits_of(DType dtype) {
  switch (size_of(dtype)) {
    case 8:
      return kInt64;
    case 4:
      return kInt32;
    case 2:
      return kFloat16;
    default:
      return kUInt8;
  }
}

template <class T>
void launch_copy(const char* name, const StridedLoop& loop) {
  for_each_gpu_loop<2>(loop, 4, [&](const GpuLoop<2>& part) {
    gpu::launch(name, copy_converted<T>, {.grid = loop_grid(part.numel, 4), .block = kLoopBlock}, part);
  });
}

}  // namespace

void copy_gpu(const Tensor& dst, const Tensor& src) {
  const gpu::DeviceGuard guard(dst.device().index);
  const Tensor* tensors[] = {&dst, &src};
  StridedLoop loop(tensors);
  if (dst.dtype() != src.dtype()) {
    return dispatch_block_type(conversion_type(dst.dtype(), src.dtype()),
                               [&]<class T>() { launch_copy<T>("copy_converted", loop); });
  }
  const size_t element_bytes = size_of(dst.dtype());
  if (loop.shape.size() == 1 && loop.operands[0].strides[0] == 1 && loop.operands[1].strides[0] == 1) {
    return gpu::copy_async(dst.data_ptr(), src.data_ptr(), size_t(loop.numel) * element_bytes,
                           gpu::CopyKind::kDeviceToDevice, gpu::current_stream());
  }
  if (copy_transposed(loop, element_bytes)) return;
  for (LoopOperand& operand : loop.operands) operand.dtype = bits_of(operand.dtype);
  switch (element_bytes) {
    case 8:
      return launch_copy<int64_t>("copy_strided", loop);
    case 2:
      return launch_copy<__half>("copy_strided", loop);
    default:
      return launch_copy<int32_t>("copy_strided", loop);
  }
}

void fill_gpu(const Tensor& x, Scalar value) {
  const gpu::DeviceGuard guard(x.device().index);
  const Tensor* tensors[] = {&x};
  const StridedLoop loop(tensors);
  const bool is_row = loop.shape.size() == 1 && loop.operands[0].strides[0] == 1;
  if (is_row && value.to_double() == 0 && !std::signbit(value.to_double())) {
    return gpu::fill_async(x.data_ptr(), 0, x.size_bytes(), gpu::current_stream());
  }
  dispatch_block_type(x.dtype(), [&]<class T>() {
    const T typed = value.to<T>();
    for_each_gpu_loop<1>(loop, 4, [&](const GpuLoop<1>& part) {
      gpu::launch("fill", fill<T>, {.grid = loop_grid(part.numel, 4), .block = kLoopBlock}, part, typed);
    });
  });
}

}  // namespace taper::ops
