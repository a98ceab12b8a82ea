// Misaligned operands (misaligned_operands.h) of the ops that work on any shape. Products, convolutions,
// pooling and batch norm: alignment_layers_test.cpp.

#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/image/normalize_images.h"
#include "taper/ops/index/index.h"
#include "taper/ops/index/join.h"
#include "taper/ops/loss/cross_entropy.h"
#include "taper/ops/optimizer/layerwise.h"
#include "taper/ops/optimizer/optimizer.h"
#include "taper/ops/reduce/reduce.h"
#include "taper/ops/softmax/softmax.h"
#include "tests/support/misaligned_operands.h"

using namespace taper;

TEST_CASE("misaligned operands: elementwise") {
  const Tensor a = numbers({24, 64}, 1), b = numbers({24, 64}, 2), row = numbers({64}, 3);
  const Tensor mask = ops::gt(a, b), bytes = integers({24, 64}, 9, kUInt8), whole = integers({24, 64}, 9);
  check_misaligned({
      {"add", {a, b}, [](const Operands& x) { return Operands{ops::add(x[0], x[1], 0.5)}; }},
      {"add a row", {a, row}, [](const Operands& x) { return Operands{ops::add(x[0], x[1])}; }},
      {"mul by a number", {a}, [](const Operands& x) { return Operands{ops::mul(x[0], 3)}; }},
      {"exp", {a}, [](const Operands& x) { return Operands{ops::exp(x[0])}; }},
      {"gelu", {a}, [](const Operands& x) { return Operands{ops::gelu(x[0])}; }},
      {"relu_backward", {a, b}, [](const Operands& x) { return Operands{ops::relu_backward(x[0], x[1])}; }},
      {"lerp", {a, b}, [](const Operands& x) { return Operands{ops::lerp(x[0], x[1], 0.25)}; }},
      {"clamp", {a}, [](const Operands& x) { return Operands{ops::clamp(x[0], -0.5, 0.5)}; }},
      {"gt", {a, b}, [](const Operands& x) { return Operands{ops::gt(x[0], x[1])}; }},
      {"where", {mask, a, b}, [](const Operands& x) { return Operands{ops::where(x[0], x[1], x[2])}; }},
      {"isnan", {a}, [](const Operands& x) { return Operands{ops::isnan(x[0])}; }},
      {"u8", {bytes, bytes}, [](const Operands& x) { return Operands{ops::add(x[0], x[1])}; }},
      {"i64", {whole, whole}, [](const Operands& x) { return Operands{ops::mul(x[0], x[1])}; }},
      {"u8 and float", {bytes, a}, [](const Operands& x) { return Operands{ops::mul(x[0], x[1])}; }},
      {"bool", {mask, mask}, [](const Operands& x) { return Operands{ops::logical_and(x[0], x[1])}; }},
      {"add_",
       {a, b},
       [](const Operands& x) {
         ops::add_(x[0], x[1]);
         return Operands{x[0]};
       }},
      {"mul_ by a row",
       {a, row},
       [](const Operands& x) {
         ops::mul_(x[0], x[1]);
         return Operands{x[0]};
       }},
      {"relu_",
       {a},
       [](const Operands& x) {
         ops::relu_(x[0]);
         return Operands{x[0]};
       }},
      {"gelu_tanh_",
       {a},
       [](const Operands& x) {
         ops::gelu_tanh_(x[0]);
         return Operands{x[0]};
       }},
  });
}

TEST_CASE("misaligned operands: copies, casts and joins") {
  const Tensor a = numbers({24, 64}, 1), image = pixels({2, 16, 6, 6}),
               bytes = integers({24, 64}, 200, kUInt8);
  const Tensor whole = integers({24, 64}, 9), mask = ops::gt(a, 0);
  std::vector<OpCase> cases = {
      {"clone", {a}, [](const Operands& x) { return Operands{ops::clone(x[0])}; }},
      {"clone of pixels", {image}, [](const Operands& x) { return Operands{ops::clone(x[0])}; }},
      {"channels first", {image}, [](const Operands& x) { return Operands{ops::contiguous(x[0])}; }},
      {"channels last",
       {numbers({2, 16, 6, 6})},
       [](const Operands& x) { return Operands{ops::contiguous(x[0], kChannelsLast)}; }},
      {"transpose",
       {a},
       [](const Operands& x) { return Operands{ops::contiguous(views::transpose(x[0], 0, 1))}; }},
      {"copy_ of bytes",
       {bytes, bytes},
       [](const Operands& x) {
         ops::copy_(x[0], ops::add(x[1], 1));
         return Operands{x[0]};
       }},
      {"copy_ transposed",
       {a, numbers({64, 24}, 2)},
       [](const Operands& x) {
         ops::copy_(x[0], views::transpose(x[1], 0, 1));
         return Operands{x[0]};
       }},
      {"fill_",
       {a},
       [](const Operands& x) {
         ops::fill_(x[0], 2.5);
         return Operands{x[0]};
       }},
      {"to the host", {a}, [](const Operands& x) { return Operands{ops::to_device(x[0], Device("cpu"))}; }},
      {"cat",
       {a, numbers({8, 64}, 2)},
       [](const Operands& x) {
         return Operands{ops::cat({x[0], x[1]})};
       }},
      {"cat along rows",
       {a, a},
       [](const Operands& x) {
         return Operands{ops::cat({x[0], x[1]}, 1)};
       }},
      {"stack",
       {a, a},
       [](const Operands& x) {
         return Operands{ops::stack({x[0], x[1]}, 1)};
       }},
      {"split", {a}, [](const Operands& x) { return ops::split(x[0], 13, 1); }},
      {"flip", {a}, [](const Operands& x) { return Operands{ops::flip(x[0], {1})}; }},
      {"pad",
       {a},
       [](const Operands& x) {
         return Operands{ops::pad(x[0], {3, 5}, 1)};
       }},
  };
  for (const DType to : {kFloat32, kFloat64, kFloat16, kBFloat16, kInt64, kInt32, kUInt8, kBool}) {
    for (const Tensor& from : {ops::abs(a), bytes, whole, mask}) {
      cases.push_back({"cast", {from}, [to](const Operands& x) { return Operands{ops::cast(x[0], to)}; }});
      cases.push_back(
          {"copy_ with a cast", {ops::zeros({24, 64}, {.dtype = to}), from}, [](const Operands& x) {
             ops::copy_(x[0], x[1]);
             return Operands{x[0]};
           }});
    }
  }
  check_misaligned(cases);
}

TEST_CASE("misaligned operands: reductions") {
  const Tensor a = numbers({24, 320}), image = pixels({2, 16, 6, 6}),
               bytes = integers({24, 320}, 200, kUInt8), whole = integers({24, 320}, 9);
  const auto pair = [](const ops::ValuesAndIndices& result) {
    return Operands{result.values, result.indices};
  };
  std::vector<OpCase> cases = {
      {"var", {a}, [](const Operands& x) { return Operands{ops::var(x[0], {1})}; }, 320},
      {"norm", {a}, [](const Operands& x) { return Operands{ops::norm(x[0])}; }, 7680},
      {"max", {a}, [pair](const Operands& x) { return pair(ops::max(x[0], 1)); }},
      {"min", {a}, [pair](const Operands& x) { return pair(ops::min(x[0], 0)); }},
      {"topk", {a}, [pair](const Operands& x) { return pair(ops::topk(x[0], 5)); }},
      {"mean of pixels",
       {image},
       [](const Operands& x) {
         return Operands{ops::mean(x[0], {0, 2, 3})};
       },
       72},
      {"sum_to",
       {a},
       [](const Operands& x) {
         return Operands{ops::sum_to(x[0], {1, 320})};
       },
       24},
      {"any", {ops::gt(a, 0.99)}, [](const Operands& x) { return Operands{ops::any(x[0], {1})}; }},
  };
  for (const Tensor& from : {a, bytes, whole}) {
    for (const Dims& axes : {Dims{}, Dims{0}, Dims{1}}) {
      cases.push_back(
          {"sum", {from}, [axes](const Operands& x) { return Operands{ops::sum(x[0], axes)}; }, 7680});
      cases.push_back(
          {"amax", {from}, [axes](const Operands& x) { return Operands{ops::amax(x[0], axes)}; }});
    }
  }
  check_misaligned(cases);
}

TEST_CASE("misaligned operands: softmax and cross entropy") {
  const Tensor scores = numbers({12, 160}), pixel_scores = pixels({2, 16, 5, 5}),
               target = integers({12}, 160);
  const auto loss = ops::cross_entropy(scores, target);
  const auto both = [](const ops::CrossEntropy& result) { return Operands{result.loss, result.log_sum_exp}; };
  check_misaligned({
      {"softmax", {scores}, [](const Operands& x) { return Operands{ops::softmax(x[0], 1)}; }, 160},
      {"softmax down", {scores}, [](const Operands& x) { return Operands{ops::softmax(x[0], 0)}; }, 12},
      {"log_softmax", {scores}, [](const Operands& x) { return Operands{ops::log_softmax(x[0], 1)}; }, 160},
      {"softmax of pixels",
       {pixel_scores},
       [](const Operands& x) { return Operands{ops::softmax(x[0], 1)}; },
       16},
      {"cross_entropy",
       {scores, target},
       [both](const Operands& x) { return both(ops::cross_entropy(x[0], x[1])); },
       160},
      {"cross_entropy with weights and smoothing",
       {scores, target, numbers({160}, 2)},
       [both](const Operands& x) {
         return both(ops::cross_entropy(x[0], x[1], {.weight = ops::abs(x[2]), .label_smoothing = 0.1}));
       },
       160},
      {"cross_entropy of pixels",
       {pixel_scores, integers({2, 5, 5}, 16)},
       [both](const Operands& x) { return both(ops::cross_entropy(x[0], x[1])); },
       50},
      {"cross_entropy_backward",
       {numbers({1}, 3), scores, target, views::view(ops::cast(loss.log_sum_exp, kFloat32), {12})},
       [](const Operands& x) {
         const auto total = ops::full({}, 12.0, {.dtype = kFloat64, .device = kCUDA});
         return Operands{ops::cross_entropy_backward(views::view(x[0], {}), x[1], x[2],
                                                     ops::cast(x[3], kFloat64), total, {})};
       },
       160},
  });
}

TEST_CASE("misaligned operands: reading and adding at indices") {
  const Tensor a = numbers({24, 64}, 1), index = integers({10}, 24), source = numbers({10, 64}, 2),
               positions = integers({24, 16}, 64), bytes = integers({24, 64}, 200, kUInt8);
  check_misaligned({
      {"index_select",
       {a, index},
       [](const Operands& x) { return Operands{ops::index_select(x[0], 0, x[1])}; }},
      {"index_select of columns",
       {a, integers({10}, 64)},
       [](const Operands& x) { return Operands{ops::index_select(x[0], 1, x[1])}; }},
      {"index_select of bytes",
       {bytes, index},
       [](const Operands& x) { return Operands{ops::index_select(x[0], 0, x[1])}; }},
      {"index_add",
       {a, index, source},
       [](const Operands& x) { return Operands{ops::index_add(x[0], 0, x[1], x[2])}; },
       10},
      {"gather", {a, positions}, [](const Operands& x) { return Operands{ops::gather(x[0], 1, x[1])}; }},
      {"scatter_add",
       {a, positions, numbers({24, 16}, 3)},
       [](const Operands& x) { return Operands{ops::scatter_add(x[0], 1, x[1], x[2])}; },
       16},
      {"one_hot", {index}, [](const Operands& x) { return Operands{ops::one_hot(x[0], 24)}; }},
  });
}

TEST_CASE("misaligned operands: random numbers") {
  const auto fill = [](auto&& draw) {
    return [draw](const Operands& x) {
      Generator generator(3);
      draw(x[0], generator);
      return Operands{x[0]};
    };
  };
  const Tensor x = numbers({24, 64}), bytes = integers({24, 64}, 9, kUInt8), whole = integers({24, 64}, 9);
  const auto integers_of = fill([](const Tensor& to, Generator& g) { ops::randint_(to, 0, 100, g); });
  check_misaligned({
      {"uniform_", {x}, fill([](const Tensor& to, Generator& g) { ops::uniform_(to, -1, 1, g); })},
      {"normal_", {x}, fill([](const Tensor& to, Generator& g) { ops::normal_(to, 0, 1, g); })},
      {"bernoulli_", {x}, fill([](const Tensor& to, Generator& g) { ops::bernoulli_(to, 0.3, g); })},
      {"randint_ of bytes", {bytes}, integers_of},
      {"randint_ of i64", {whole}, integers_of},
      {"dropout",
       {x},
       [](const Operands& from) {
         Generator generator(3);
         const auto result = ops::dropout(from[0], 0.4, generator);
         return Operands{result.y, result.mask};
       }},
  });
}

TEST_CASE("misaligned operands: optimizers") {
  // Two tensors of each kind: the second keeps its place while the first moves.
  const auto of = [](uint64_t seed) { return numbers({24, 64}, seed); };
  const Tensor square = ops::abs(of(8));
  check_misaligned({
      {"sgd",
       {of(1), of(2), of(3), of(4), of(5), of(6)},
       [](const Operands& x) {
         ops::sgd_update({x[0], x[1]}, {x[2], x[3]}, {x[4], x[5]},
                         {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1}, false);
         return Operands{x[0], x[1], x[4], x[5]};
       }},
      {"adamw",
       {of(1), of(2), of(3), of(4), of(5), of(6), square, square},
       [](const Operands& x) {
         ops::adamw_update({x[0], x[1]}, {x[2], x[3]}, {x[4], x[5]}, {x[6], x[7]}, {.lr = 0.1}, 3);
         return Operands{x[0], x[1], x[4], x[5], x[6], x[7]};
       }},
      {"lamb",
       {of(1), of(2), of(3), of(4), of(5), of(6), square, square},
       [](const Operands& x) {
         ops::lamb_update({x[0], x[1]}, {x[2], x[3]}, {x[4], x[5]}, {x[6], x[7]}, {.lr = 0.1}, 3);
         return Operands{x[0], x[1], x[4], x[5], x[6], x[7]};
       }},
      {"lars",
       {of(1), of(2), of(3), of(4), of(5), of(6)},
       [](const Operands& x) {
         ops::lars_update({x[0], x[1]}, {x[2], x[3]}, {x[4], x[5]},
                          {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1}, false);
         return Operands{x[0], x[1], x[4], x[5]};
       }},
      {"ema",
       {of(1), of(2), of(3), of(4)},
       [](const Operands& x) {
         ops::ema_update({x[0], x[1]}, {x[2], x[3]}, 0.9);
         return Operands{x[0], x[1]};
       }},
      {"global_norm",
       {of(1), of(2)},
       [](const Operands& x) {
         return Operands{ops::global_norm({x[0], x[1]})};
       },
       3072},
      {"scale_",
       {of(1), of(2)},
       [](const Operands& x) {
         ops::scale_({x[0], x[1]}, 0.5);
         return Operands{x[0], x[1]};
       }},
      {"unscale_",
       {of(1), of(2), ops::full({1}, 0.25, {.dtype = kFloat32}), ops::zeros({1}, {.dtype = kFloat32})},
       [](const Operands& x) {
         ops::unscale_({x[0], x[1]}, x[2], x[3]);
         return Operands{x[0], x[1], x[3]};
       }},
  });
}

TEST_CASE("misaligned operands: images") {
  const Tensor image = integers({3, 16, 32, 3}, 256, kUInt8), corners = integers({3, 2}, 4, kInt32);
  const Tensor mirrored = ops::gt(integers({3}, 2), 0);
  std::vector<OpCase> cases;
  for (const DType dtype : {kFloat32, kFloat16, kBFloat16}) {
    for (const MemoryFormat format : {kContiguous, kChannelsLast}) {
      cases.push_back({"normalize_images", {image, corners, mirrored}, [=](const Operands& x) {
                         const ops::NormalizeImagesOptions options = {
                             .height = 12, .width = 16, .dtype = dtype, .memory_format = format};
                         return Operands{ops::normalize_images(ops::contiguous(x[0]), options, x[1], x[2])};
                       }});
    }
  }
  check_misaligned(cases);
}
