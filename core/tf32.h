#pragma once
// TF32: tensor cores take f32 operands, use 10 of their 23 fraction bits, and add in f32. That is at least
// eight times as fast as exact f32 products, with the precision of f16 and the range of f32. (NVIDIA A100
// Tensor Core GPU Architecture, 2020)
//
// Ops that have TF32 algorithms ask here whether they may use them. Only the vendors' libraries have such
// algorithms; Taper's own kernels and the CPU always compute in exact f32. The settings and their initial
// values are PyTorch's.

namespace taper {

/// For matrix products. Initially off. (torch.backends.cuda.matmul.allow_tf32)
void set_allow_tf32_matmul(bool allow);
bool allow_tf32_matmul();

/// For convolutions. Initially on. (torch.backends.cudnn.allow_tf32)
void set_allow_tf32_conv(bool allow);
bool allow_tf32_conv();

/// The relative spacing of TF32 numbers: the distance from 1 to the next one.
inline constexpr double kTf32Epsilon = 0x1p-10;

}  // namespace taper
