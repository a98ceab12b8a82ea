#include "bench/scaling/network.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <system_error>

#include "taper/core/base/error.h"

namespace taper::scaling {

std::string_view name(Algorithm algorithm) {
  return algorithm == Algorithm::kRing ? "ring" : "tree";
}

int64_t Network::gpus_in_node(int64_t gpus) const {
  return std::min(gpus, gpus_per_node);
}

bool Network::fills_nodes(int64_t gpus) const {
  return gpus >= 1 && gpus % gpus_in_node(gpus) == 0;
}

double ring_seconds(const Link& link, int64_t ranks, double bytes) {
  const double part = bytes / double(ranks);
  return 2 * double(ranks - 1) * (link.latency + part / link.bytes_per_second);
}

double tree_seconds(const Link& link, int64_t ranks, double bytes) {
  if (ranks == 1) return 0;
  const double depth = std::bit_width(uint64_t(ranks - 1));  // log2, rounded up
  const double whole = bytes / link.bytes_per_second;
  // The last of k chunks leaves k - 1 steps after the first, and each step takes latency + whole / k.
  const auto seconds = [&](double chunks) {
    return 2 * (depth + chunks - 1) * (link.latency + whole / chunks);
  };
  if (link.latency <= 0) return 2 * whole;  // endless chunks
  const double best = std::max(1.0, std::sqrt((depth - 1) * whole / link.latency));
  return std::min(seconds(std::floor(best)), seconds(std::ceil(best)));
}

double all_reduce_seconds(const Network& network, Algorithm algorithm, int64_t gpus, double bytes) {
  const auto across = algorithm == Algorithm::kRing ? ring_seconds : tree_seconds;
  const int64_t local = network.gpus_in_node(gpus);
  TAPER_CHECK(network.fills_nodes(gpus), "{}: {} GPUs do not fill nodes of {}", network.name, gpus, local);
  if (local == gpus) return across(network.gpus_per_node > 1 ? network.inside : network.between, gpus, bytes);
  Link port = network.between;
  port.bytes_per_second *= std::min(1.0, double(network.ports_per_node) / double(local));
  // A ring's two halves are the reduce-scatter and the all-gather.
  return ring_seconds(network.inside, local, bytes) + across(port, gpus / local, bytes / double(local));
}

Link fit_ring(int64_t ranks, const std::vector<double>& bytes, const std::vector<double>& seconds) {
  TAPER_CHECK(ranks >= 2 && bytes.size() >= 2 && bytes.size() == seconds.size(),
              "a link is fitted to two sizes and ranks at least, got {} sizes and {} ranks", bytes.size(),
              ranks);
  // seconds = latency * steps + inverse * moved, each line divided by its seconds.
  double aa = 0, ab = 0, bb = 0, a1 = 0, b1 = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const double steps = 2 * double(ranks - 1);
    const double a = steps / seconds[i], b = steps * bytes[i] / double(ranks) / seconds[i];
    aa += a * a, ab += a * b, bb += b * b, a1 += a, b1 += b;
  }
  const double determinant = aa * bb - ab * ab;
  TAPER_CHECK(determinant > 0, "a link needs messages of different sizes");
  return {.latency = std::max(0.0, (a1 * bb - b1 * ab) / determinant),
          .bytes_per_second = determinant / (b1 * aa - a1 * ab)};
}

const std::vector<Network>& known_networks() {
  constexpr double kMicro = 1e-6, kGiga = 1e9;
  // NVLink 4: 18 links of 25 GB/s in each direction. 3.4 us a hop: hwLat for NVLink, ring, Simple in NCCL's
  // src/graph/tuning.cc. 14 us for a network's hop: the same table's NET row.
  static const Link nvlink4 = {3.4 * kMicro, 450 * kGiga};
  static const std::string nodes =
      "8 GPUs and NVLink 4 (18 x 25 GB/s each way) in a node: NVIDIA H100 data sheet; latencies: NCCL, "
      "src/graph/tuning.cc; ";
  static const std::vector<Network> networks = {
      {.name = "nvlink4+ndr",
       .between = {14 * kMicro, 50 * kGiga},
       .gpus_per_node = 8,
       .inside = nvlink4,
       .ports_per_node = 8,
       .source = nodes + "NDR InfiniBand, 400 Gbit/s a GPU: NVIDIA DGX H100 user guide"},
      {.name = "nvlink4+100g",
       .between = {14 * kMicro, 12.5 * kGiga},
       .gpus_per_node = 8,
       .inside = nvlink4,
       .source = nodes + "one 100 Gbit/s Ethernet port a node: IEEE 802.3ba; RDMA's latency"},
      {.name = "25g",
       .between = {50 * kMicro, 3.125 * kGiga},
       .source =
           "one GPU and one 25 Gbit/s Ethernet port a node: IEEE 802.3by; 50 us for TCP are an assumption"}};
  return networks;
}

namespace {

/// Returns the number that all of `word` is, or NaN.
double number_in(std::string_view word) {
  double number = 0;
  const char* const end = word.data() + word.size();
  const auto [stopped, error] = std::from_chars(word.data(), end, number);
  return error == std::errc() && stopped == end ? number : NAN;
}

/// Returns the numbers between commas, NaN for what is none.
std::vector<double> numbers_in(std::string_view text) {
  std::vector<double> numbers;
  for (size_t comma = 0; comma != std::string_view::npos;) {
    comma = text.find(',');
    numbers.push_back(number_in(text.substr(0, comma)));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return numbers;
}

bool is_link(double latency_us, double gigabytes_per_second) {
  return latency_us >= 0 && latency_us <= 1e6 && gigabytes_per_second >= 1e-6 && gigabytes_per_second <= 1e6;
}

bool is_count(double number, double most) {
  return number >= 1 && number <= most && number == std::floor(number);
}

/// Returns whether these numbers, in parse_network()'s order, are a network that can be.
bool is_network(const std::vector<double>& numbers) {
  const size_t count = numbers.size();
  if ((count != 2 && count != 5 && count != 6) || !is_link(numbers[0], numbers[1])) return false;
  return count == 2 || (is_count(numbers[2], 1e6) && is_link(numbers[3], numbers[4]) &&
                        (count == 5 || is_count(numbers[5], numbers[2])));
}

}  // namespace

Network parse_network(const std::string& text) {
  std::vector<std::string> names;
  for (const Network& one : known_networks()) {
    if (one.name == text) return one;
    names.push_back(one.name);
  }
  const size_t colon = std::min(text.find(':'), text.size());
  const std::vector<double> numbers =
      numbers_in(std::string_view(text).substr(std::min(colon + 1, text.size())));
  TAPER_CHECK(
      colon > 0 && is_network(numbers),
      "--network {}: neither one of {} nor NAME:LATENCY_US,GB/S[,GPUS_PER_NODE,LATENCY_US,GB/S[,PORTS]] "
      "with at most 1e6 us, from 1e-6 to 1e6 GB/s, and whole numbers of GPUs and of ports, one for each GPU "
      "at most",
      text, fmt::join(names, ", "));
  Network network = {.name = text.substr(0, colon),
                     .between = {numbers[0] * 1e-6, numbers[1] * 1e9},
                     .source = "described on the command line"};
  if (numbers.size() > 2) {
    network.gpus_per_node = int64_t(numbers[2]);
    network.inside = {numbers[3] * 1e-6, numbers[4] * 1e9};
  }
  if (numbers.size() == 6) network.ports_per_node = int64_t(numbers[5]);
  return network;
}

}  // namespace taper::scaling
