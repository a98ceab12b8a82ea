#pragma once
// Where the threads of a program keep what they tell a Profiler (profile_events.h) until it stops.

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "taper/core/base/profile_span.h"

namespace taper::detail {

/// What one thread has recorded.
struct ThreadRecording {
  int system_id = 0;
  std::string name;  ///< empty: it has none
  std::deque<ProfileSpan> spans;
  std::deque<MemorySample> memory;
};

/// Makes room for at most `max_events` bars and allocations. `memory`: record allocations.
void prepare_recording(int64_t max_events, bool memory);
/// From now on all threads record.
void begin_recording();
/// Threads stop. Returns the number of the recording.
uint64_t end_recording();
/// What the threads hold of recording `number`, which is over. Bars that are still open end at `end_ns`.
std::vector<ThreadRecording> take_recordings(uint64_t number, int64_t end_ns);

/// Counts one more event; false if there is no room for it.
bool take_event_room();
/// How many found no room.
int64_t dropped_events();

}  // namespace taper::detail
