#include "taper/nn/layers/conv_runner.h"

#include <utility>

namespace taper {
namespace {

thread_local constinit const ConvRunner* current = nullptr;

}  // namespace

Tensor ConvRunner::run_current(const Conv2d& conv, const BatchNorm2d* norm, const Tensor& x,
                               const BatchNormFusion& fusion) {
  return current ? current->run(conv, norm, x, fusion) : Tensor();
}

ConvRunner::Scope::Scope(const ConvRunner& runner) : previous_(std::exchange(current, &runner)) {}
ConvRunner::Scope::~Scope() {
  current = previous_;
}

}  // namespace taper
