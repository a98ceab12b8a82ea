#pragma once
// All of Taper in one include, for programs: #include <taper/taper.h>. The library itself includes only what
// it uses. From the ground up:

#include "taper/version.h"

// Tensors.
#include "taper/core/base/allocator.h"
#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/core/base/warning.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/core/profiler.h"
#include "taper/core/tensor.h"
#include "taper/core/views.h"

// The GPU and its memory.
#include "taper/core/gpu/memory/caching_allocator.h"
#include "taper/core/gpu/memory/pinned_allocator.h"
#include "taper/core/gpu/runtime.h"

// Which of several ways to compute an op is taken.
#include "taper/ops/algorithms/algorithm_cache.h"

// Operations with derivatives.
#include "taper/autograd/functions.h"

// The tape.
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/tape/checkpoint.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/function.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/graph_drawing.h"
#include "taper/autograd/tape/op_trace.h"

// Modules, layers and models.
#include "taper/nn/init.h"
#include "taper/nn/layer.h"
#include "taper/nn/layers/adaptive_avg_pool2d.h"
#include "taper/nn/layers/avg_pool2d.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/conv_batch_norm.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/identity.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/max_pool2d.h"
#include "taper/nn/layers/relu.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/module.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/ema.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/report/accuracy.h"
#include "taper/nn/report/chrome_trace.h"
#include "taper/nn/report/memory_report.h"
#include "taper/nn/report/memory_trace.h"
#include "taper/nn/report/summary.h"
#include "taper/nn/serve/inference_form.h"

// Data sets and files.
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/image.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/data/synthetic_dataset.h"
#include "taper/nn/data/transforms.h"
#include "taper/nn/io/safetensors.h"

// Training.
#include "taper/nn/train/console.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/run_summary.h"
#include "taper/nn/train/step_log.h"
#include "taper/nn/train/step_profile.h"
#include "taper/nn/train/train_loop.h"
