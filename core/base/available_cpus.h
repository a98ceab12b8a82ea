#pragma once
// How many threads this process can run at once: by its affinity, and by the quota of its cgroup, which
// containers have (docker --cpus, Kubernetes' limits). Threads beyond the quota are stopped in the middle of
// loops that others wait for.

#include <string>

namespace taper {

/// The CPUs that this process may run on, or fewer where the quota of its cgroup, or of a group around it,
/// allows less: the quota rounded up. At least 1. Reads cgroups of version 1 and 2 as `process_groups`
/// (/proc/self/cgroup) names them, under `groups_folder` (/sys/fs/cgroup); what cannot be read limits
/// nothing.
int available_cpus(const std::string& process_groups = "/proc/self/cgroup",
                   const std::string& groups_folder = "/sys/fs/cgroup");

}  // namespace taper
