#pragma once
// How batch norm's kernels write and read the ReLU's mask, whose layout ops/norm/batch_norm.h describes. For
// .cu files only.
//
// The layout depends on the shape alone and not on how many channels a thread takes, so that backward may
// take another number than forward did. A thread with 8 channels (half types) writes a byte of its own;
// narrower ones put their bits together with their neighbours' first.

#include "taper/ops/moments/columns_gpu.cuh"

namespace taper::ops {

struct ReluMask {
  uint8_t* bytes = nullptr;

  /// `mask` may be undefined.
  explicit ReluMask(const Tensor& mask) {
    if (mask.defined()) bytes = static_cast<uint8_t*>(mask.data_ptr());
  }

  __device__ __forceinline__ uint8_t& byte(int channels, int64_t row, int channel) const {
    return bytes[row * ((channels + 7) / 8) + channel / 8];
  }

  /// The bits of `channel` and its neighbours, lowest first; what lies above a thread's own is not its own.
  __device__ __forceinline__ unsigned load(int channels, int64_t row, int channel) const {
    return unsigned(byte(channels, row, channel)) >> (channel % 8);
  }

  /// Stores the kPack bits of `channel` and its neighbours, 0 where not `live`. All lanes of the warp take
  /// part: threads with neighbouring threadIdx.x have neighbouring channels of one row.
  template <int kPack>
  __device__ __forceinline__ void store(int channels, int64_t row, int channel, bool live,
                                        unsigned bits) const {
    bits = live ? bits << (channel % 8) : 0;
    if constexpr (kPack < 8) {
      const unsigned lanes = blockDim.x < 8 / kPack ? blockDim.x : 8 / kPack;
      for (unsigned distance = 1; distance < lanes; distance *= 2) {
        bits |= __shfl_xor_sync(0xffffffffu, bits, int(distance));
      }
    }
    if (live && channel % 8 == 0) byte(channels, row, channel) = uint8_t(bits);
  }
};

}  // namespace taper::ops
