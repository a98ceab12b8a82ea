#pragma once
// How batch norm's kernels write and read the ReLU's mask. ops/norm/batch_norm.h describes its layout. For
// .cu files only.
//
// The layout depends on the shape alone, so backward may take another number of channels per thread than
// forward. A thread with 8 channels (half types) writes a whole byte; narrower ones first join their bits
// with their neighbours'.

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

  /// Returns the bits of `channel` and its neighbours, lowest first. Higher bits than the thread's are
  /// invalid.
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
