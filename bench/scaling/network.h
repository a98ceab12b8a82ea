#pragma once
// What an all-reduce costs on a network that is described by a few numbers. A message of s bytes takes
// latency + s / bandwidth: Hockney 1994, "The communication challenge for MPP". The formulas are those of Thakur,
// Rabenseifner & Gropp 2005, "Optimization of collective communication operations in MPICH",
// https://doi.org/10.1177/1094342005051521. What adding costs is left out: it goes on beside the transfer.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace taper::scaling {

/// From a GPU to another one.
struct Link {
  double latency = 0;           ///< seconds, of a message, with what software adds
  double bytes_per_second = 1;  ///< in one direction
};

/// Nodes of equal GPUs: `inside` joins those of a node, `between` those of different nodes.
struct Network {
  std::string name;
  Link between;
  int64_t gpus_per_node = 1;
  Link inside = {};            ///< of no use if a node has one GPU
  int64_t ports_per_node = 1;  ///< of `between`, which a node's GPUs share
  std::string source = {};     ///< where the numbers are from

  /// Returns how many of a job's GPUs are in one node: all of a small job.
  int64_t gpus_in_node(int64_t gpus) const;
  /// Returns whether a job of so many GPUs uses all GPUs of each node that it uses, or fits into one node.
  bool fills_nodes(int64_t gpus) const;
};

/// How GPUs, or one from each node, add up. Both have their best bandwidth; a tree has fewer hops.
enum class Algorithm : uint8_t { kRing, kTree };

std::string_view name(Algorithm algorithm);

/// 2 (n - 1) steps of bytes / n. Patarasuk & Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002
double ring_seconds(const Link& link, int64_t ranks, double bytes);

/// Up a tree and down again, in as many chunks as are best: each rank is a leaf of one binary tree and inside another
/// one, so that it sends and receives at full bandwidth. Sanders, Speck & Traeff 2009,
/// https://doi.org/10.1016/j.parco.2009.09.001; NCCL has it since 2.4.
double tree_seconds(const Link& link, int64_t ranks, double bytes);

/// Returns the seconds of an all-reduce over `gpus` GPUs. In more than one node: each node adds up by a ring, which
/// leaves every GPU with a share; GPUs of equal place in their nodes all-reduce their shares; each node gathers.
/// Throws Error unless gpus is a multiple of a node's GPUs or fewer.
double all_reduce_seconds(const Network& network, Algorithm algorithm, int64_t gpus, double bytes);

/// Returns the link for which ring_seconds() comes nearest to what was measured, by the squares of relative errors.
/// Throws Error for less than two sizes and for ranks < 2.
Link fit_ring(int64_t ranks, const std::vector<double>& bytes, const std::vector<double>& seconds);

/// Networks with published numbers.
const std::vector<Network>& known_networks();

/// Returns the known network of that name, or the one that `text` describes. NAME:LATENCY_US,GB/S has one GPU in a node.
/// NAME:LATENCY_US,GB/S,GPUS_PER_NODE,LATENCY_US,GB/S[,PORTS] has nodes of several: the first pair is the link between
/// nodes, the second one the link inside. A node has 1 port to the outside unless PORTS says how many, at most one for
/// each GPU. Throws Error for another text, a latency above a second, and less than 1 KB/s or more than 1 PB/s.
Network parse_network(const std::string& text);

}  // namespace taper::scaling
