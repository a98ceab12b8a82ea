// What the algorithm cache does about candidates whose results are wrong.

#include "double_call.h"
#include "warnings.h"

using namespace taper;

TEST_CASE("verification rejects a candidate whose result is wrong") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates candidates;
  candidates.more = {
      {.name = "wrong", .rank = 0, .run = [](const DoubleCall& call, void*) { write_doubled(call, 2.01f); }},
      {.name = "forgetful", .rank = 0, .run = [](const DoubleCall&, void*) {}},
      {.name = "rounded", .rank = 5, .run = [](const DoubleCall& call, void*) {
         std::this_thread::sleep_for(std::chrono::milliseconds(2));
         write_doubled(call, 2.00001f);
       }}};
  const DoubleCall call = double_call(1000);

  cache.run(call, by_reference(candidates));
  CHECK(cache.statistics().rejected == 0);  // nobody looked

  cache.set_mode(AlgorithmMode::kHeuristic);
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_verify(true);
  const Warnings warnings;
  cache.run(call, by_reference(candidates));
  CHECK(is_doubled(call));
  CHECK(cache.statistics().rejected == 2);
  CHECK(cache.statistics().benchmarked == 2);  // the unverified measurement does not count
  const AlgorithmRecord record = cache.decisions()[0];
  CHECK(record.verified);
  for (const AlgorithmTiming& timing : record.candidates)
    CHECK(timing.is_wrong == (timing.name == "wrong" || timing.name == "forgetful"));
  REQUIRE(warnings.texts.size() == 2);
  CHECK_THAT(warnings.texts[0], Catch::Contains("double forward x=f32[1000]") &&
                                    Catch::Contains("wrong is rejected") && Catch::Contains("against slow"));
}

TEST_CASE("a candidate may ask to be verified whenever it is measured") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  Candidates candidates;
  const auto write_wrong = [](const DoubleCall& call, void*) { write_doubled(call, 2.01f); };
  candidates.more = {{.name = "wrong", .rank = 0, .always_verified = true, .run = write_wrong}};
  const DoubleCall call = double_call(1000);
  const Warnings warnings;
  cache.run(call, by_reference(candidates));
  CHECK(is_doubled(call));
  CHECK(cache.statistics().rejected == 1);
  CHECK_FALSE(cache.decisions()[0].verified);  // the others were not
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("wrong is rejected"));
}

TEST_CASE("verification allows for the rounding that a candidate announces") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_verify(true);
  Candidates candidates;
  const auto coarse = [](const DoubleCall& call, void*) { write_doubled(call, 2.004f); };
  candidates.more = {{.name = "silent", .rank = 3, .run = coarse},
                     {.name = "announced", .rank = 4, .epsilon = 0x1p-10, .run = coarse}};
  const Warnings warnings;
  cache.run(double_call(), by_reference(candidates));
  const AlgorithmRecord record = cache.decisions()[0];
  for (const AlgorithmTiming& timing : record.candidates) CHECK(timing.is_wrong == (timing.name == "silent"));
  CHECK(warnings.texts.size() == 1);
}

TEST_CASE("verification compares bytes bit by bit, and rounding may flip a few bits") {
  AlgorithmCache cache;
  cache.set_mode(AlgorithmMode::kBenchmark);
  cache.set_verify(true);
  const auto flip = [](int bits) {
    return [bits](const DoubleCall& call, void*) {
      auto* const bytes = call.y.data<uint8_t>();
      std::fill(bytes, bytes + call.y.numel(), uint8_t(0x5a));
      for (int i = 0; i < bits; ++i) bytes[i] ^= 1;
    };
  };
  const Warnings warnings;
  cache.run(DoubleCall{from_vector<float>({1}), empty({1000}, {.dtype = kUInt8})}, [&](const DoubleCall&) {
    return std::vector<Algorithm>{{.name = "reference", .run = flip(0)},
                                  {.name = "a few flipped", .rank = 1, .run = flip(8)},
                                  {.name = "many flipped", .rank = 1, .run = flip(9)}};
  });
  const AlgorithmRecord record = cache.decisions()[0];
  for (const AlgorithmTiming& timing : record.candidates)
    CHECK(timing.is_wrong == (timing.name == "many flipped"));
  REQUIRE(warnings.texts.size() == 1);
  CHECK_THAT(warnings.texts[0], Catch::Contains("of the bits differ from reference's"));
}
