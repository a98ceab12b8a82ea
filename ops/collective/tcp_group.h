#pragma once
// Ranks that are processes which meet at an address, as torchrun starts them: no other program or library is needed.
// Each pair of ranks keeps one TCP connection. PyTorch's counterparts: c10d/TCPStore.hpp, where ranks meet, and Gloo.

#include <memory>

#include "taper/ops/collective/rank_place.h"

namespace taper {

/// Joins the other ranks at place.address and place.port, where rank 0 listens. Throws Error if they cannot meet within
/// `timeout`; the message says who did not come. A collective that a rank does not come to within `timeout` fails on all
/// others.
std::unique_ptr<ProcessGroup> make_tcp_group(const RankPlace& place,
                                             CollectiveTimeout timeout = kDefaultCollectiveTimeout);

}  // namespace taper
