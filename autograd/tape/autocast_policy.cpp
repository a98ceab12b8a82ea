#include "taper/autograd/tape/autocast_policy.h"

#include <algorithm>

namespace taper {

// As PyTorch 2.x has them. Its list for CPUs is the shorter one: CPUs compute bf16 in f32 anyway, and round
// once. Where the lists differ, so do the columns.
std::span<const AutocastRule> autocast_rules() {
  using enum CastPolicy;
  static constexpr AutocastRule kRules[] = {
      // op, on a CPU, on a GPU
      {"conv2d", kLow, kLow,
       "products of many pairs: half the bytes, tensor cores, sums in f32; conv2d_moments, too"},
      {"conv2d_fused", kLow, kLow, "as conv2d"},
      {"matmul", kLow, kLow, "as conv2d"},
      {"bmm", kLow, kLow, "as conv2d"},
      {"linear", kLow, kLow, "as conv2d; linear_fused, too"},

      {"cross_entropy", kFloat32, kFloat32, "a sum of logarithms, and the first gradient of all"},
      {"nll_loss", kFloat32, kFloat32, "a loss"},
      {"mse_loss", kFloat32, kFloat32, "squares leave f16's range"},
      {"binary_cross_entropy_with_logits", kFloat32, kFloat32, "a loss"},

      {"softmax", kAsTheyCome, kFloat32, "exponentials, and a sum of them"},
      {"log_softmax", kAsTheyCome, kFloat32, "as softmax"},
      {"exp", kAsTheyCome, kFloat32, "leaves f16's range at 11.1"},
      {"log", kAsTheyCome, kFloat32, "steep near 0"},
      {"log1p", kAsTheyCome, kFloat32, "as log"},
      {"pow", kAsTheyCome, kFloat32, "as exp"},
      {"square", kAsTheyCome, kFloat32, "a power"},
      {"reciprocal", kAsTheyCome, kFloat32, "steep near 0; also a number divided by a tensor"},
      {"rsqrt", kAsTheyCome, kFloat32, "steep near 0"},
      {"sum", kAsTheyCome, kFloat32, "sums of many elements leave f16's range"},
      {"norm", kAsTheyCome, kFloat32, "a sum of squares"},

      {"batch_norm", kWidest, kWidest, "input and residual meet; parameters and statistics stay f32"},
      {"scatter_add", kWidest, kWidest, "the two inputs need one dtype"},
      {"index_add", kWidest, kWidest, "as scatter_add"},
  };
  return kRules;
}

CastPolicy cast_policy(std::string_view op, DeviceType device) {
  const auto rules = autocast_rules();
  const auto rule = std::ranges::find(rules, op, &AutocastRule::op);
  if (rule == rules.end()) return CastPolicy::kAsTheyCome;
  return device == kCPU ? rule->cpu : rule->cuda;
}

}  // namespace taper
