#pragma once
// Mixed images: each image of a batch gets a share of the one before it, and its target that share of the other's
// class. mixup blends the two (Zhang et al. 2018, https://arxiv.org/abs/1710.09412); CutMix puts a rectangle of the
// one into the other (Yun et al. 2019, https://arxiv.org/abs/1905.04899). PyTorch's counterpart: RandomMixup and
// RandomCutmix of torchvision's references/classification/transforms.py.

#include "taper/nn/data/batch.h"
#include "taper/nn/data/random_stream.h"
#include "taper/nn/data/resize.h"

namespace taper {

struct MixOptions {
  double mixup = 0;     ///< alpha of the distribution Beta(alpha, alpha) of the shares; 0: no mixup
  double cutmix = 0;    ///< alpha for CutMix; 0: none. With both, each batch gets one of them, at random.
  int64_t classes = 0;  ///< columns of the targets; 0: the data set's classes

  bool any() const { return mixup > 0 || cutmix > 0; }
};

/// How one batch is mixed.
struct Mix {
  bool cut = false;  ///< CutMix, else mixup
  double share = 1;  ///< of each image's own class in its target
  Box box = {};      ///< that CutMix takes from the other image; may be empty
};

/// Draws how a batch of width x height images is mixed.
Mix draw_mix(const MixOptions& options, int width, int height, RandomStream& random);

/// Returns x with its slices moved on by one along the first axis: the last becomes the first. (torch.roll)
Tensor roll_by_one(const Tensor& x);

/// Mixes the images of the batch on their device and sets its probabilities, [N, classes], in f32 or, for f64 images,
/// f64. The one before the first image is the last. Leaves the tensors that it finds unchanged.
void mix(Batch& batch, const Mix& how, int64_t classes);

}  // namespace taper
