#pragma once
// How many threads this process can run at once, given its CPU affinity and the quota of its cgroup.
// Containers have such quotas (docker --cpus, Kubernetes' limits). The kernel stops threads beyond the quota
// in the middle of loops that other threads wait for.

#include <string>

namespace taper {

/// Returns the number of CPUs that this process may run on, at least 1. The quota of its cgroup, and of the
/// groups around it, lowers that number; it is rounded up. Reads cgroups of version 1 and 2 as
/// `process_groups` (/proc/self/cgroup) names them, under `groups_folder` (/sys/fs/cgroup). A file that
/// cannot be read sets no limit.
int available_cpus(const std::string& process_groups = "/proc/self/cgroup",
                   const std::string& groups_folder = "/sys/fs/cgroup");

}  // namespace taper
