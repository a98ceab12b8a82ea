#pragma once
// Every differentiable function, one header per family.

#include "taper/autograd/conv.h"
#include "taper/autograd/copy.h"
#include "taper/autograd/elementwise.h"
#include "taper/autograd/index.h"
#include "taper/autograd/loss.h"
#include "taper/autograd/matmul.h"
#include "taper/autograd/norm.h"
#include "taper/autograd/pool.h"
#include "taper/autograd/random.h"
#include "taper/autograd/reduce.h"
#include "taper/autograd/softmax.h"
#include "taper/autograd/views.h"
