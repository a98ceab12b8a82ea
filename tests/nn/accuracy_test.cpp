// Top-k accuracy against its definition.

#include "taper/nn/report/accuracy.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <numeric>

#include "taper/ops/copy/create.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

TEST_CASE("correct_in_top_k counts rows whose target is among the k largest") {
  for (const int64_t classes : {1, 2, 7, 100}) {
    const Tensor logits = random_tensor({53, classes}, kFloat32);
    Tensor target = empty({53}, {.dtype = kInt64});
    for (int64_t i = 0; i < 53; ++i) target.data<int64_t>()[i] = i * 5 % classes;
    for (const int64_t k : {1, 2, 5, 200}) {
      int64_t expected = 0;
      for (int64_t i = 0; i < 53; ++i) {
        const float* row = logits.data<float>() + i * classes;
        const float own = row[target.data<int64_t>()[i]];
        expected += std::count_if(row, row + classes, [own](float v) { return v > own; }) < k;
      }
      CHECK(ops::item(correct_in_top_k(logits, target, k)) == double(expected));
    }
  }
}

TEST_CASE("NaN is no score: a row of it has no right answer") {
  const Tensor logits = ops::full({10, 10}, std::numeric_limits<double>::quiet_NaN());
  for (const int64_t k : {1, 5, 10}) CHECK(ops::item(correct_in_top_k(logits, ops::arange(10), k)) == 0);
  Tensor some = ops::zeros({2, 4});
  some.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  some.data<float>()[1] = some.data<float>()[5] = 1;
  const Tensor target = ops::full({2}, 1, {.dtype = kInt64});
  CHECK(ops::item(correct_in_top_k(some, target, 1)) == 1);  // NaN sorts before 1
  CHECK(ops::item(correct_in_top_k(some, target, 2)) == 2);
}

TEST_CASE("Accuracy adds batches up") {
  Accuracy accuracy;
  CHECK(accuracy.top1() == 0);
  const Tensor logits = ops::eye(8);
  accuracy.add(logits, ops::arange(8));
  accuracy.add(logits, ops::arange(7, -1, -1));
  CHECK(accuracy.count() == 16);
  CHECK(accuracy.top1() == 0.5);
  // The second batch's target is never best. Its zeros tie in order of index, so rows 3 to 7 are among five.
  CHECK(accuracy.top5() == Approx((8 + 5) / 16.0));
  accuracy.add(ops::zeros({0, 8}), ops::zeros({0}, {.dtype = kInt64}));
  CHECK(accuracy.count() == 16);
}

TEST_CASE("correct_in_top_k names what does not fit") {
  CHECK_THROWS_WITH(correct_in_top_k(ops::ones({2, 3}), ops::arange(3), 1), Contains("got [2, 3] and [3]"));
  CHECK_THROWS_WITH(correct_in_top_k(ops::ones({3, 3}), ops::arange(3), 0), Contains("at least 1"));
}
