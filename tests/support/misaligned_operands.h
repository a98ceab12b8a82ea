#pragma once
// Runs ops on the GPU with operands that begin at an odd element, or whose rows are an odd number of elements
// apart. GPUs fault on 16-byte accesses there, so each kernel has to notice. Results are compared with those
// for aligned copies. The simulated GPU reports misaligned accesses (core/gpu/sim/shim/alignment.h).

#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "taper/core/views.h"
#include "taper/ops/random/random.h"
#include "tests/support/test_tensors.h"
#include "tests/support/tolerance.h"

namespace taper {

enum class Place {
  kAligned,  ///< in memory of its own
  kShifted,  ///< one element after the beginning of its memory
  kOddRows,  ///< so, too, and rows (along the axis that is innermost in memory) an odd number of elements
             ///< apart
};

/// Returns a copy of x on the GPU, placed as `place` says.
inline Tensor placed(const Tensor& x, Place place) {
  const bool pixels = x.dim() == 4 && x.is_contiguous(kChannelsLast) && !x.is_contiguous();
  const Tensor rows = pixels ? views::permute(x, {0, 2, 3, 1}) : x;
  const TensorOptions options = {.dtype = x.dtype(), .device = kCUDA};
  Tensor to;
  if (place == Place::kAligned) {
    to = empty(rows.shape(), options);
  } else if (place == Place::kShifted || x.dim() < 2) {
    to = views::view(views::slice(empty({x.numel() + 1}, options), 0, 1, x.numel() + 1), rows.shape());
  } else {
    Shape wide = rows.shape();
    const int64_t width = wide.back();
    wide[wide.size() - 1] += 1 + width % 2;
    to = views::slice(empty(wide, options), -1, 1, 1 + width);
  }
  ops::copy_(to, rows);
  return pixels ? views::permute(to, {0, 3, 1, 2}) : to;
}

/// An op's operands, on the CPU. Those of kFloat64 become the dtype under test.
using Operands = std::vector<Tensor>;

struct OpCase {
  const char* name;
  Operands operands;
  std::function<Operands(const Operands&)> run;
  int64_t terms = 1;  ///< that are summed for one element of the result
};

inline Tensor numbers(const Shape& shape, uint64_t seed = 1) {
  return random_tensor(shape, kFloat64, seed);
}
inline Tensor pixels(const Shape& shape, uint64_t seed = 1) {
  return ops::contiguous(numbers(shape, seed), kChannelsLast);
}
inline Tensor integers(const Shape& shape, int64_t end, DType dtype = kInt64) {
  Generator generator(7);
  return ops::randint(0, end, shape, {.dtype = dtype}, generator);
}

/// Compares the op on operands in every placement, one at a time and all together, with aligned operands.
inline void check_places(const OpCase& test, DType dtype) {
  Operands operands;
  for (const Tensor& x : test.operands) operands.push_back(x.dtype() == kFloat64 ? ops::cast(x, dtype) : x);
  const auto run = [&](const std::function<Place(size_t)>& place_of) {
    Operands at;
    for (size_t i = 0; i < operands.size(); ++i) at.push_back(placed(operands[i], place_of(i)));
    return test.run(at);
  };
  const Operands expected = run([](size_t) { return Place::kAligned; });
  const auto check = [&](const std::string& what, const std::function<Place(size_t)>& place_of) {
    INFO(test.name << ", " << name(dtype) << ", " << what);
    Operands results;
    REQUIRE_NOTHROW(results = run(place_of));
    REQUIRE_NOTHROW(gpu::synchronize());
    REQUIRE(results.size() == expected.size());
    for (size_t i = 0; i < results.size(); ++i) {
      CAPTURE(i);
      const DType of = expected[i].dtype();
      // Results kept in f64 may have been computed in f32.
      const double rounding = is_floating_point(of) ? tolerance(compute_dtype(dtype), test.terms) : 0;
      check_close(results[i], expected[i], 2 * std::max(tolerance(of, test.terms), rounding));
    }
  };
  for (const Place place : {Place::kShifted, Place::kOddRows}) {
    const std::string how = place == Place::kShifted ? "shifted" : "in odd rows";
    for (size_t odd = 0; odd < operands.size(); ++odd) {
      check(fmt::format("operand {} {}", odd, how),
            [&](size_t i) { return i == odd ? place : Place::kAligned; });
    }
    check("all " + how, [&](size_t) { return place; });
  }
}

inline void check_misaligned(const std::vector<OpCase>& cases) {
  if (gpu::device_count() == 0) return;
  const PoisonedMemory poisoned;
#if defined(__SANITIZE_ADDRESS__)  // ten times slower there
  const DType dtype = GENERATE(kFloat32, kBFloat16);
#else
  const DType dtype = GENERATE(kFloat32, kFloat64, kFloat16, kBFloat16);
#endif
  for (const OpCase& test : cases) check_places(test, dtype);
}

}  // namespace taper
