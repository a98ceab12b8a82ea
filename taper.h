#pragma once
// All of Taper in one include, for programs: #include <taper/taper.h>. The library itself includes only what
// it uses. From the ground up:

#include "taper/version.h"

// Tensors.
#include "taper/core/allocator.h"
#include "taper/core/device.h"
#include "taper/core/dtype.h"
#include "taper/core/error.h"
#include "taper/core/generator.h"
#include "taper/core/op_scope.h"
#include "taper/core/parallel.h"
#include "taper/core/printable.h"
#include "taper/core/profiler.h"
#include "taper/core/program.h"
#include "taper/core/tensor.h"
#include "taper/core/views.h"
#include "taper/core/warning.h"

// The GPU and its memory.
#include "taper/core/gpu/caching_allocator.h"
#include "taper/core/gpu/pinned_allocator.h"
#include "taper/core/gpu/runtime.h"

// Which of several ways to compute an op is taken.
#include "taper/core/algorithm_cache.h"

// Operations with derivatives.
#include "taper/autograd/functions.h"

// The tape.
#include "taper/autograd/checkpoint.h"
#include "taper/autograd/engine.h"
#include "taper/autograd/function.h"
#include "taper/autograd/grad_mode.h"
#include "taper/autograd/gradcheck.h"
#include "taper/autograd/graph_drawing.h"

// Modules, layers and models.
#include "taper/nn/inference_form.h"
#include "taper/nn/init.h"
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
#include "taper/nn/report/step_profile.h"
#include "taper/nn/report/summary.h"

// Data sets and files.
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/device_loader.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/image.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/data/transforms.h"
#include "taper/nn/io/safetensors.h"
