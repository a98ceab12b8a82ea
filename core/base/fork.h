#pragma once
// Locks and fork(). Only the forking thread exists in the child, so a lock that another thread held would
// stay held there for ever.

#include <mutex>

namespace taper {

/// Makes fork() wait until nobody holds `mutex`, so that the child finds it free. For locks that every op
/// takes. Such a lock must be held only briefly, must not enclose another one of this kind, and must never be
/// destroyed.
void hold_over_fork(std::mutex& mutex);

}  // namespace taper
