#pragma once
// All of Taper in one include, for programs: #include <taper/taper.h>. The library itself includes only what
// it uses. From the ground up:

#include "taper/core/device.h"
#include "taper/core/error.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/digits.h"
#include "taper/nn/data/image.h"
#include "taper/nn/data/loader.h"
#include "taper/nn/data/resize.h"
#include "taper/nn/data/transforms.h"
#include "taper/version.h"
