#include "taper/ops/conv/conv_library.h"

#include "taper/ops/vendor_library.h"

namespace taper::ops {
namespace {

const void* address_of(const Tensor& x) {
  return x.defined() ? x.data_ptr() : nullptr;
}

VendorLibrary<ConvLibrary>& slot() {
#if TAPER_HAVE_CUDNN
  const ConvLibraryLoader loader = [] { return load_cudnn(); };
#else
  const ConvLibraryLoader loader;
#endif
  // Never destroyed: ops may run while other static objects are.
  static auto& slot = *new VendorLibrary<ConvLibrary>(loader, "convolutions use Taper's own kernels");
  return slot;
}

}  // namespace

ConvPattern ConvPattern::of(const Conv2dCall& call) {
  return {
      .pass = call.pass,
      .conv = call.conv,
      .dtype = call.result.dtype(),
      .allow_tf32 = call.allow_tf32,
      .bias = call.bias.defined(),
      .residual = call.residual.defined(),
      .relu = call.relu,
      .alignment = common_alignment({address_of(call.first), address_of(call.second), address_of(call.bias),
                                     address_of(call.residual), address_of(call.result)})};
}

ConvPointers ConvPointers::of(const Conv2dCall& call) {
  return {.first = address_of(call.first),
          .second = address_of(call.second),
          .bias = address_of(call.bias),
          .residual = address_of(call.residual),
          .result = call.result.data_ptr()};
}

std::shared_ptr<ConvLibrary> conv_library() {
  return slot().get();
}

ConvLibraryLoader set_conv_library_loader(ConvLibraryLoader loader) {
  return slot().set_loader(std::move(loader));
}

}  // namespace taper::ops
