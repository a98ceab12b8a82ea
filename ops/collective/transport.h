#pragma once
// Transport: how bytes get from rank to rank. All collectives in host memory are made of it (host_collectives.h): over
// MPI's messages, over TCP, and between threads of one process.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "taper/ops/collective/collective_call.h"

namespace taper {

/// Two ways between each pair of ranks: what waits on one does not hold up the other.
enum class Channel : uint8_t { kControl, kData };

/// A rank's process has ended, or cannot be reached any more.
class RankLostError : public CollectiveError {
 public:
  RankLostError(int lost_rank, const std::string& text) : CollectiveError(text), rank(lost_rank) {}
  const int rank;
};

/// One thread uses it at a time. Messages from one rank to another arrive in the order in which they were sent on their
/// channel.
class Transport {
 public:
  using Transfer = int64_t;  ///< the number of a message under way

  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Returns the name of this rank's host.
  virtual const std::string& host() const = 0;

  /// Begins to send. The bytes must stay as they are until done().
  virtual Transfer send(int to, Channel channel, const void* data, size_t bytes) = 0;
  /// Begins to receive a message of this size. `data` must stay until done().
  virtual Transfer receive(int from, Channel channel, void* data, size_t bytes) = 0;
  /// Moves bytes on. Returns whether the transfer is done; its number is then free for others. Throws RankLostError if it
  /// can never be.
  virtual bool done(Transfer transfer) = 0;
  /// Waits a little, for about as long as a message takes.
  virtual void rest() = 0;

  /// Says good-bye after the last collective. May wait for other ranks. Not called after a failure.
  virtual void leave() noexcept = 0;
  /// Ends this process with `exit_code`, and the other ranks' where the transport can.
  [[noreturn]] virtual void abort(int exit_code) noexcept = 0;

 protected:
  Transport() = default;
};

}  // namespace taper
