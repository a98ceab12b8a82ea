#pragma once
// How ranks over TCP find each other. All connect to rank 0 and tell it where they listen; rank 0 sends everybody the
// list; then each pair connects.

#include <chrono>
#include <utility>
#include <vector>

#include "taper/ops/collective/rank_place.h"

namespace taper::detail {

/// Owns a socket's descriptor.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  ~Socket();
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  int descriptor() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

/// Returns a connection to every other rank, by rank, that does not block. Throws Error if the ranks do not meet within
/// `timeout`.
std::vector<Socket> meet(const RankPlace& place, CollectiveTimeout timeout);

}  // namespace taper::detail
