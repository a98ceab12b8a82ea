// The model of bench/scaling against closed forms, and the laws that a timeline keeps.

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "bench/scaling/charts.h"
#include "bench/scaling/measured_step.h"
#include "bench/scaling/network.h"
#include "bench/scaling/timeline.h"
#include "taper/core/base/error.h"
#include "temporary_folder.h"

using namespace taper;
using namespace taper::scaling;

namespace {

constexpr int64_t kMiB = 1 << 20;

/// `count` gradients that are ready at equal distances, the last one at the end of backward().
Step even_step(int count, int64_t bytes) {
  Step step = {.what = "a step", .device = "none", .forward = 0.030, .backward = 0.060, .optimizer = 0.010};
  for (int i = 0; i < count; ++i)
    step.gradients.push_back(
        {.name = std::to_string(i), .bytes = bytes, .ready = step.backward * (i + 1) / count});
  return step;
}

/// Latency 1 ms and 1 GB/s.
double slow(double bytes) {
  return 1e-3 + bytes / 1e9;
}

const Network kCluster = {.name = "cluster",
                          .between = {20e-6, 25e9},
                          .gpus_per_node = 8,
                          .inside = {3e-6, 400e9},
                          .ports_per_node = 8};

}  // namespace

TEST_CASE("a ring and a tree cost what their formulas say") {
  const Link link = {10e-6, 5e9};
  const double bytes = 40e6;
  CHECK(ring_seconds(link, 1, bytes) == 0);
  CHECK(tree_seconds(link, 1, bytes) == 0);
  CHECK(ring_seconds(link, 2, bytes) == Approx(2 * 10e-6 + 8e-3));
  CHECK(ring_seconds(link, 64, bytes) == Approx(126 * 10e-6 + 126.0 / 64 * 8e-3));
  CHECK(tree_seconds(link, 2, bytes) == Approx(2 * 10e-6 + 2 * 8e-3));
  // A short message goes in one chunk: log2 n hops up and as many down.
  CHECK(tree_seconds(link, 1024, 8) == Approx(20 * (10e-6 + 8 / 5e9)));
  CHECK(tree_seconds(link, 1000, 8) == tree_seconds(link, 1024, 8));
  // No number of chunks is better than the one it takes; the bandwidth is never more than the link's.
  for (const int chunks : {1, 2, 5, 20, 50, 80, 85, 90, 200, 1000})
    CHECK(tree_seconds(link, 1024, bytes) <= 2 * (10 + chunks - 1) * (10e-6 + 8e-3 / chunks) * (1 + 1e-12));
  CHECK(tree_seconds(link, 1024, bytes) > 2 * 8e-3);
  CHECK(tree_seconds({0, 5e9}, 1024, bytes) == Approx(2 * 8e-3));
  // A tree's latency wins where there are many ranks, a ring's bandwidth where there are few.
  CHECK(tree_seconds(link, 4096, bytes) < ring_seconds(link, 4096, bytes));
  CHECK(tree_seconds(link, 4, bytes) > ring_seconds(link, 4, bytes));
}

TEST_CASE("nodes add up inside, then across, then gather") {
  const double bytes = 100e6;
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree}) {
    const auto across = algorithm == Algorithm::kRing ? ring_seconds : tree_seconds;
    CHECK(all_reduce_seconds(kCluster, algorithm, 4, bytes) == Approx(across(kCluster.inside, 4, bytes)));
    CHECK(all_reduce_seconds(kCluster, algorithm, 8, bytes) == Approx(across(kCluster.inside, 8, bytes)));
    const double inside = 2 * 7 * (3e-6 + bytes / 8 / 400e9);
    CHECK(all_reduce_seconds(kCluster, algorithm, 128, bytes) ==
          Approx(inside + across(kCluster.between, 16, bytes / 8)));
    Network shared = kCluster;
    shared.ports_per_node = 1;
    CHECK(all_reduce_seconds(shared, algorithm, 128, bytes) ==
          Approx(inside + across({20e-6, 25e9 / 8}, 16, bytes / 8)));
  }
  CHECK_THROWS_WITH(all_reduce_seconds(kCluster, Algorithm::kRing, 12, bytes),
                    Catch::Contains("12 GPUs do not fill nodes of 8"));
}

TEST_CASE("a link is found again in the times of its ring") {
  const Link link = {37e-6, 3.3e9};
  for (const int64_t ranks : {2, 5}) {
    std::vector<double> bytes, seconds;
    for (double size = 1e3; size < 1e9; size *= 10) {
      bytes.push_back(size);
      seconds.push_back(ring_seconds(link, ranks, size));
    }
    const Link found = fit_ring(ranks, bytes, seconds);
    CHECK(found.latency == Approx(link.latency));
    CHECK(found.bytes_per_second == Approx(link.bytes_per_second));
  }
  CHECK_THROWS_AS(fit_ring(1, {1, 2}, {1, 2}), Error);
  CHECK_THROWS_AS(fit_ring(2, {1}, {1}), Error);
}

TEST_CASE("a network without cost has an efficiency of 1") {
  const Network free = {.name = "free", .between = {0, std::numeric_limits<double>::infinity()}};
  const Step step = even_step(40, kMiB);
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree})
    for (const int64_t gpus : {1, 8, 4096}) {
      const Timeline timeline =
          simulate(step, {}, [&](double bytes) { return all_reduce_seconds(free, algorithm, gpus, bytes); });
      CHECK(timeline.seconds == Approx(step.seconds()));
      CHECK(timeline.exposed == Approx(0).margin(1e-12));
    }
}

TEST_CASE("a bucket holds what its limit allows, and one dtype and device") {
  const auto cut = [](std::vector<BucketEntry> row) {
    return cut_buckets(row, {.bucket_bytes = 10, .first_bucket_bytes = 4});
  };
  using Ends = std::vector<size_t>;
  CHECK(cut({}) == Ends{});
  CHECK(cut({{3}, {1}, {4}, {6}, {1}}) == Ends{2, 4, 5});
  CHECK(cut({{5}, {10}, {11}, {1}}) == Ends{1, 2, 3, 4});  // one that is too large goes alone
  CHECK(cut({{2}, {2, kFloat64}, {2, kFloat64}, {2}}) == Ends{1, 3, 4});
  CHECK(cut({{2}, {2, kFloat32, Device("cuda:1")}, {2}}) == Ends{1, 2, 3});
}

TEST_CASE("the optimiser waits for the end of backward, too") {
  Step step = even_step(4, kMiB);
  step.backward = 0.080;  // after the last gradient
  const Timeline timeline = simulate(step, {}, [](double) { return 1e-3; });
  CHECK(timeline.buckets.back().end < timeline.backward_end);
  CHECK(timeline.seconds == Approx(step.seconds()));
}

TEST_CASE("one bucket begins when backward is over") {
  const Step step = even_step(40, kMiB);
  const Timeline timeline =
      simulate(step, {.bucket_bytes = 1000 * kMiB, .first_bucket_bytes = 1000 * kMiB}, slow);
  REQUIRE(timeline.buckets.size() == 1);
  CHECK(timeline.buckets[0].begin == Approx(step.forward + step.backward));
  CHECK(timeline.seconds == Approx(step.seconds() + slow(40.0 * kMiB)));
  CHECK(timeline.exposed == Approx(slow(40.0 * kMiB)));
}

TEST_CASE("transfers shorter than the computation between them hide, but for the last one") {
  const Step step = even_step(20, kMiB / 2);  // one every 3 ms
  const Timeline timeline = simulate(step, {.bucket_bytes = 1, .first_bucket_bytes = 1}, slow);
  REQUIRE(timeline.buckets.size() == 20);
  CHECK(timeline.exposed == Approx(slow(kMiB / 2.0)));
}

TEST_CASE("buckets go one after the other, and none before it is full") {
  const Step step = even_step(50, kMiB);
  for (const double slowdown : {0.0, 0.3, 1.0})
    for (const int64_t bytes : {int64_t(1), kMiB, 7 * kMiB, 100 * kMiB}) {
      CAPTURE(slowdown, bytes);
      const Timeline timeline = simulate(step, {.bucket_bytes = bytes}, slow, slowdown);
      int64_t sent = 0;
      double free_at = 0, network = 0;
      for (const BucketTime& one : timeline.buckets) {
        CHECK(one.begin >= one.ready);
        CHECK(one.begin >= free_at);
        CHECK(one.begin == std::max(one.ready, free_at));
        CHECK(one.end - one.begin == Approx(slow(double(one.bytes))));
        free_at = one.end;
        network += one.end - one.begin;
        sent += one.bytes;
      }
      CHECK(sent == step.bytes());
      CHECK(timeline.buckets[0].ready >= step.forward + step.gradients[0].ready);
      CHECK(timeline.seconds == Approx(std::max(free_at, timeline.backward_end) + step.optimizer));
      CHECK(timeline.exposed >= 0);
      CHECK(timeline.exposed <= network * (1 + 1e-12));
      if (slowdown == 0) CHECK(timeline.backward_end == Approx(step.forward + step.backward));
      if (slowdown == 1) CHECK(timeline.exposed == Approx(network));  // nothing is hidden
    }
}

TEST_CASE("a slowdown stretches what is computed beside a transfer") {
  // Two gradients; the first transfer takes 10 ms, in which 5 ms of the other 30 are computed.
  Step step = even_step(2, kMiB);
  const Timeline timeline = simulate(
      step, {.bucket_bytes = 1, .first_bucket_bytes = 1}, [](double) { return 0.010; }, 0.5);
  CHECK(timeline.buckets[0].begin == Approx(0.060));
  CHECK(timeline.buckets[1].ready == Approx(0.095));
  CHECK(timeline.seconds == Approx(0.095 + 0.010 + step.optimizer));
}

TEST_CASE("a step is never shorter on a slower network or on more GPUs") {
  const Step step = even_step(60, 2 * kMiB);
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree}) {
    double last = 0;
    for (const double latency : {0.0, 1e-6, 1e-5, 1e-4, 1e-3}) {
      Network network = kCluster;
      network.between.latency = latency;
      const double seconds = simulate(step, {}, [&](double bytes) {
                               return all_reduce_seconds(network, algorithm, 512, bytes);
                             }).seconds;
      CHECK(seconds >= last);
      last = seconds;
    }
    last = 0;
    for (int64_t gpus = 8; gpus <= 4096; gpus *= 2) {
      const double seconds = simulate(step, {}, [&](double bytes) {
                               return all_reduce_seconds(kCluster, algorithm, gpus, bytes);
                             }).seconds;
      CHECK(seconds >= last);
      last = seconds;
    }
  }
}

TEST_CASE("the best bucket is large where latency costs most, and small where bandwidth does") {
  const Step step = even_step(100, kMiB);
  const auto with = [](double latency, double bandwidth) {
    return [=](double bytes) { return latency + bytes / bandwidth; };
  };
  const BestBucket latent = find_best_bucket(step, with(20e-3, 1e12));
  const BestBucket narrow = find_best_bucket(step, with(1e-9, 2e9));
  CHECK(latent.bytes > narrow.bytes);
  for (int64_t bytes = 64 << 10; bytes <= 128 * kMiB; bytes *= 2) {
    const DataParallelOptions cut = {.bucket_bytes = bytes, .first_bucket_bytes = std::min(bytes, kMiB)};
    CHECK(latent.timeline.seconds <= simulate(step, cut, with(20e-3, 1e12)).seconds * 1.001);
    CHECK(narrow.timeline.seconds <= simulate(step, cut, with(1e-9, 2e9)).seconds * 1.001);
  }
}

TEST_CASE("networks are named or described") {
  CHECK(parse_network("nvlink4+ndr").gpus_per_node == 8);
  const Network flat = parse_network("mine:10,25");
  CHECK(flat.name == "mine");
  CHECK(flat.between.latency == Approx(10e-6));
  CHECK(flat.between.bytes_per_second == Approx(25e9));
  CHECK(flat.gpus_per_node == 1);
  const Network nodes = parse_network("mine:10,25,4,3,200,2");
  CHECK(nodes.gpus_per_node == 4);
  CHECK(nodes.inside.latency == Approx(3e-6));
  CHECK(nodes.ports_per_node == 2);
  CHECK(nodes.source == "described on the command line");
  CHECK(parse_network("mine:1e1,2.5e1,4,3,200,4").ports_per_node == 4);
  for (const char* wrong : {"",
                            "nvlink",
                            ":",
                            ":10,25",
                            "mine:",
                            "mine:10",
                            "mine:10,0",
                            "mine:x,25",
                            "mine:10,25 GB",
                            "mine:-1,25",
                            "mine:10,25,",
                            "mine:,25",
                            "mine:10,25,4",
                            "mine:10,25,0,3,200",
                            "mine:1,2,3,4,5,6,7",
                            "mine:10,25,2.5,3,200",
                            "mine:10,25,4,3,200,0",
                            "mine:10,25,4,3,200,1.5",
                            "mine:10,25,4,3,200,5",
                            "mine:10,25,1e7,3,200",
                            "mine:10,25,inf,3,200",
                            "mine:inf,25",
                            "mine:nan,25",
                            "mine:10,inf",
                            "mine:1e308,1e-308",
                            "mine:10,1e-7",
                            "mine:10,1e400",
                            "mine:2e6,25"})
    CHECK_THROWS_WITH(parse_network(wrong), Catch::Contains("--network"));
}

TEST_CASE("jobs fill the nodes that they use") {
  for (const int64_t gpus : {1, 3, 8, 16, 4096}) CHECK(kCluster.fills_nodes(gpus));
  for (const int64_t gpus : {-8, 0, 9, 12, 4095}) CHECK_FALSE(kCluster.fills_nodes(gpus));
}

TEST_CASE("a measured step has all gradients in the order of backward, and a file brings it back") {
  Training training({.arch = "resnet18", .batch = 2, .size = 32, .repeats = 1});
  const Step step = training.measure();
  CHECK(step.gradients.size() == training.model().named_parameters().size());
  CHECK(step.bytes() == 4 * 11689512);
  CHECK(step.gradients.back().name != "fc.weight");  // the last layer comes first
  double last = 0;
  for (const Gradient& one : step.gradients) {
    CHECK(one.ready >= last);
    last = one.ready;
  }
  CHECK(last <= step.backward);
  CHECK(step.forward > 0);
  CHECK(step.optimizer > 0);

  const TemporaryFolder folder;
  const std::string path = folder / "step.json";
  save_step(path, step);
  const Step again = load_step(path);
  CHECK(again.what == step.what);
  CHECK(again.device == step.device);
  CHECK(again.seconds() == Approx(step.seconds()));
  REQUIRE(again.gradients.size() == step.gradients.size());
  for (size_t i = 0; i < step.gradients.size(); ++i) {
    CHECK(again.gradients[i].name == step.gradients[i].name);
    CHECK(again.gradients[i].bytes == step.gradients[i].bytes);
    CHECK(again.gradients[i].ready == Approx(step.gradients[i].ready));
  }
  CHECK_THROWS_WITH(load_step(folder / "none.json"), Catch::Contains("cannot be read"));
  CHECK_THROWS_WITH(step_from_text("{}"), Catch::Contains("not a measured step"));
  CHECK_THROWS_WITH(step_from_text("[1"), Catch::Contains("not a measured step"));
}

TEST_CASE("a timeline as text shows what runs when") {
  Step step = even_step(2, kMiB);
  const Timeline timeline =
      simulate(step, {.bucket_bytes = 1, .first_bucket_bytes = 1}, [](double) { return 0.010; });
  CHECK_THAT(print_timeline(timeline, 11),
             Catch::Contains("|fffbbbbbb o|") && Catch::Contains("|      0  1 |"));
}
