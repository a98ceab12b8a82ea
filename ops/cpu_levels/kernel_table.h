#pragma once
// The CPU kernels of ops (all *_cpu.cpp and cpu/) are compiled several times, once for each level of instruction
// sets. Each time all their functions are made local to one object file, and this table of their addresses is
// all that it shows (cmake/TaperCpuLevels.cmake). So code that one CPU has never runs on another by way of a
// template or inline function that both were compiled with.
//
// Callers do not see any of this: copy_cpu() and the others, as others call them, are those of dispatch.cpp, which
// look into the table. A build for one CPU (TAPER_MARCH) has the kernels once, and no table.

#include "taper/ops/conv/conv2d_call.h"
#include "taper/ops/copy/copy_cpu.h"
#include "taper/ops/elementwise/elementwise_op.h"
#include "taper/ops/image/normalize_images_backend.h"
#include "taper/ops/index/index_cpu.h"
#include "taper/ops/loss/cross_entropy_cpu.h"
#include "taper/ops/loss/soft_cross_entropy_backend.h"
#include "taper/ops/matmul/matmul_cpu.h"
#include "taper/ops/norm/batch_norm_cpu.h"
#include "taper/ops/optimizer/layerwise_cpu.h"
#include "taper/ops/optimizer/optimizer_cpu.h"
#include "taper/ops/pool/pool2d_cpu.h"
#include "taper/ops/random/random_cpu.h"
#include "taper/ops/reduce/reduce_cpu.h"
#include "taper/ops/softmax/softmax_cpu.h"

namespace taper::ops {

/// The functions that are called from outside the kernels.
struct CpuKernels {
  decltype(&conv2d_cpu_algorithms) conv2d_algorithms;
  decltype(&winograd_f64_algorithms) winograd_f64;
  decltype(&copy_cpu) copy;
  decltype(&fill_cpu) fill;
  decltype(&elementwise_cpu) elementwise;
  decltype(&normalize_images_cpu) normalize_images;
  decltype(&find_out_of_range_cpu) find_out_of_range;
  decltype(&index_select_cpu) index_select;
  decltype(&gather_cpu) gather;
  decltype(&one_hot_cpu) one_hot;
  decltype(&index_add_cpu) index_add;
  decltype(&scatter_add_cpu) scatter_add;
  decltype(&cross_entropy_cpu) cross_entropy;
  decltype(&cross_entropy_backward_cpu) cross_entropy_backward;
  decltype(&soft_losses_cpu) soft_losses;
  decltype(&soft_gradient_cpu) soft_gradient;
  decltype(&matmul_cpu) matmul;
  decltype(&matmul_cpu_algorithms) matmul_algorithms;
  decltype(&is_matrix_layout) has_matrix_layout;
  decltype(&batch_norm_training_cpu) batch_norm_training;
  decltype(&batch_norm_inference_cpu) batch_norm_inference;
  decltype(&batch_norm_backward_cpu) batch_norm_backward;
  decltype(&batch_norm_backward_sums_cpu) batch_norm_backward_sums;
  decltype(&batch_norm_backward_input_cpu) batch_norm_backward_input;
  decltype(&batch_moments_cpu) batch_moments;
  decltype(&unpack_relu_mask_cpu) unpack_relu_mask;
  decltype(&sgd_update_cpu) sgd_update;
  decltype(&adam_update_cpu) adam_update;
  decltype(&lamb_update_cpu) lamb_update;
  decltype(&lars_update_cpu) lars_update;
  decltype(&ema_update_cpu) ema_update;
  decltype(&sum_of_squares_cpu) sum_of_squares;
  decltype(&scale_cpu) scale;
  decltype(&unscale_cpu) unscale;
  decltype(&max_pool2d_cpu) max_pool2d;
  decltype(&max_pool2d_backward_cpu) max_pool2d_backward;
  decltype(&max_pool2d_gather_cpu) max_pool2d_gather;
  decltype(&avg_pool2d_cpu) avg_pool2d;
  decltype(&avg_pool2d_backward_cpu) avg_pool2d_backward;
  decltype(&uniform_cpu) uniform;
  decltype(&normal_cpu) normal;
  decltype(&bernoulli_cpu) bernoulli;
  decltype(&randint_cpu) randint;
  decltype(&shuffle_cpu) shuffle;
  decltype(&reduce_cpu) reduce;
  decltype(&reduce_indices_cpu) reduce_indices;
  decltype(&topk_cpu) topk;
  decltype(&softmax_cpu) softmax;
};

extern "C" {
extern const CpuKernels taper_cpu_kernels_baseline, taper_cpu_kernels_avx2, taper_cpu_kernels_avx512;
}

}  // namespace taper::ops
