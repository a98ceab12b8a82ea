#pragma once
// TF32: tensor cores that take f32 operands, use 10 of their 23 fraction bits, and add in f32. Eight times as
// fast as exact f32 products or more, with the precision of f16 at the range of f32. (NVIDIA A100 Tensor Core
// GPU Architecture, 2020)
//
// Whether f32 may be computed so is asked here by the ops that have algorithms for it, which are the
// vendors'; own kernels and the CPU always compute in exact f32. The settings and where they stand at first
// are PyTorch's.

namespace taper {

/// For matrix products. At the start: no. (torch.backends.cuda.matmul.allow_tf32)
void set_allow_tf32_matmul(bool allow);
bool allow_tf32_matmul();

/// For convolutions. At the start: yes. (torch.backends.cudnn.allow_tf32)
void set_allow_tf32_conv(bool allow);
bool allow_tf32_conv();

/// The relative rounding of a TF32 operand: distance from 1 to the next number.
inline constexpr double kTf32Epsilon = 0x1p-10;

}  // namespace taper
