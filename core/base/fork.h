#pragma once
// Locks and fork(). The child has the forking thread alone: a lock that another thread held would stay held
// for ever.

#include <mutex>

namespace taper {

/// From now on fork() waits until nobody holds `mutex`, and the child finds it free. For locks that are held
/// for a moment, around nothing that takes another one of these, and are never destroyed: those that every op
/// takes.
void hold_over_fork(std::mutex& mutex);

}  // namespace taper
