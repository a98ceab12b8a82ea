#pragma once
// Every differentiable function, one header per family.

#include "taper/autograd/derivatives/conv.h"
#include "taper/autograd/derivatives/copy.h"
#include "taper/autograd/derivatives/elementwise.h"
#include "taper/autograd/derivatives/index.h"
#include "taper/autograd/derivatives/loss.h"
#include "taper/autograd/derivatives/matmul.h"
#include "taper/autograd/derivatives/norm.h"
#include "taper/autograd/derivatives/pool.h"
#include "taper/autograd/derivatives/random.h"
#include "taper/autograd/derivatives/reduce.h"
#include "taper/autograd/derivatives/softmax.h"
#include "taper/autograd/derivatives/sync_batch_norm.h"
#include "taper/autograd/derivatives/views.h"
