#include "taper/core/base/available_cpus.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

namespace taper {
namespace {

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

int cpus_of_affinity() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, int(std::thread::hardware_concurrency()));
}

double quota(double microseconds, double period) {
  return microseconds > 0 && period > 0 ? microseconds / period : kNoQuota;
}

/// Returns how many CPUs the cgroup in `folder` itself allows. Version 2: cpu.max holds "QUOTA PERIOD", or
/// "max PERIOD". Version 1: two files; a quota of -1 means no limit. (Linux:
/// Documentation/admin-guide/cgroup-v2.rst, sched-bwc.)
double quota_of_group(const std::string& folder) {
  double microseconds = 0, period = 0;
  std::ifstream(folder + "/cpu.max") >> microseconds >> period;
  if (microseconds == 0) {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> microseconds;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota(microseconds, period);
}

/// Returns the smallest quota of the group at `path` under `root` and of the groups around it. In a container
/// `path` may name a group of the host that the container does not see; `root` then is the container's own
/// group.
double quota_of_path(const std::string& root, std::string path) {
  double least = quota_of_group(root);
  if (path.find("/..") != std::string::npos) return least;  // a group outside the visible tree
  for (; path.size() > 1; path.resize(path.rfind('/'))) least = std::min(least, quota_of_group(root + path));
  return least;
}

bool has_word(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

double quota_of_process(const std::string& process_groups, const std::string& groups_folder) {
  double least = kNoQuota;
  std::ifstream file(process_groups);
  for (std::string line; std::getline(file, line);) {  // NUMBER:CONTROLLERS:PATH; version 2 names none
    std::istringstream fields(line);
    std::string number, controllers, path;
    std::getline(fields, number, ':');
    std::getline(fields, controllers, ':');
    std::getline(fields, path);
    if (path.empty() || path.front() != '/') continue;
    if (controllers.empty()) {
      least = std::min(least, quota_of_path(groups_folder, path));
    } else if (has_word(controllers, "cpu")) {
      for (const std::string& name : {controllers, std::string("cpu")})
        least = std::min(least, quota_of_path(fmt::format("{}/{}", groups_folder, name), path));
    }
  }
  return least;
}

}  // namespace

int available_cpus(const std::string& process_groups, const std::string& groups_folder) {
  const int cpus = cpus_of_affinity();
  const double quota = quota_of_process(process_groups, groups_folder);
  return quota < cpus ? std::max(1, int(std::ceil(quota))) : cpus;
}

}  // namespace taper
