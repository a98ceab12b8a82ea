// How many CPUs a process may use, with made-up cgroups.

#include "taper/core/base/available_cpus.h"

#include <sched.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "temporary_folder.h"

using namespace taper;

namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

/// Returns available_cpus() with these lines in /proc/self/cgroup and these files under /sys/fs/cgroup.
int cpus_with(const std::string& groups, const Files& files) {
  const TemporaryFolder folder;
  std::ofstream(folder / "cgroup") << groups;
  for (const auto& [name, content] : files) {
    const std::filesystem::path path = folder / ("sys/" + name);
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
  }
  return available_cpus(folder / "cgroup", folder / "sys");
}

/// Runs body() on a thread that may run on one CPU.
template <class Body>
void on_one_cpu(Body&& body) {
  std::thread([&] {
    cpu_set_t all, one;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
      if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    body();
  }).join();
}

const int kAll = available_cpus("/nonexistent", "/nonexistent");

}  // namespace

TEST_CASE("without a quota the affinity decides") {
  CHECK(kAll >= 1);
  CHECK(kAll <= int(std::max(1u, std::thread::hardware_concurrency())));
  on_one_cpu([] {
    CHECK(available_cpus("/nonexistent", "/nonexistent") == 1);
    CHECK(cpus_with("0::/\n", {{"cpu.max", "800000 100000\n"}}) == 1);
  });
}

TEST_CASE("the quota of a cgroup limits the CPUs, rounded up") {
  const auto expected = [](int quota) { return std::min(kAll, quota); };
  struct Case {
    const char* what;
    std::string groups;
    Files files;
    int cpus;
  };
  const std::string v1 = "5:memory:/x\n4:cpu,cpuacct:/docker/x\n3:cpuset:/\n";
  const std::vector<Case> cases = {
      {"half a CPU", "0::/\n", {{"cpu.max", "50000 100000\n"}}, 1},
      {"one", "0::/\n", {{"cpu.max", "100000 100000\n"}}, 1},
      {"more than one", "0::/\n", {{"cpu.max", "120000 100000\n"}}, expected(2)},
      {"another period", "0::/\n", {{"cpu.max", "20000 20000\n"}}, 1},
      {"none", "0::/\n", {{"cpu.max", "max 100000\n"}}, kAll},
      {"more than there are", "0::/\n", {{"cpu.max", "100000000 100000\n"}}, kAll},
      {"a group inside", "0::/a/b\n", {{"cpu.max", "max 100000\n"}, {"a/b/cpu.max", "100000 100000\n"}}, 1},
      {"a group around",
       "0::/a/b/c\n",
       {{"a/cpu.max", "90000 100000\n"}, {"a/b/c/cpu.max", "max 100000\n"}},
       1},
      {"a path of the host's", "0::/docker/x\n", {{"cpu.max", "100000 100000\n"}}, 1},
      {"a neighbour", "0::/a\n", {{"ab/cpu.max", "10000 100000\n"}, {"b/cpu.max", "10000 100000\n"}}, kAll},
      {"a group outside of the namespace", "0::/../up\n", {{"cpu.max", "100000 100000\n"}}, 1},
      {"v1",
       v1,
       {{"cpu,cpuacct/docker/x/cpu.cfs_quota_us", "100000\n"},
        {"cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"}},
       1},
      {"v1, mounted as cpu",
       v1,
       {{"cpu/cpu.cfs_quota_us", "40000\n"}, {"cpu/cpu.cfs_period_us", "50000\n"}},
       1},
      {"v1, none", v1, {{"cpu/cpu.cfs_quota_us", "-1\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}}, kAll},
      {"v1 beside v2",
       "2:cpu:/\n0::/\n",
       {{"cpu/cpu.cfs_quota_us", "100000\n"}, {"cpu/cpu.cfs_period_us", "100000\n"}, {"unified/x", ""}},
       1},
      {"another controller",
       "2:cpuacct:/\n",
       {{"cpuacct/cpu.cfs_quota_us", "1\n"}, {"cpuacct/cpu.cfs_period_us", "1\n"}},
       kAll},
      {"nonsense", "0::/\n", {{"cpu.max", "some\n"}}, kAll},
      {"zero", "0::/\n", {{"cpu.max", "0 0\n"}}, kAll},
      {"no period", "0::/\n", {{"cpu.max", "50000\n"}}, kAll},
      {"no groups", "", {{"cpu.max", "10000 100000\n"}}, kAll},
      {"no lines of groups", "x\n0::\n0::relative\n::::\n", {{"cpu.max", "10000 100000\n"}}, kAll},
  };
  for (const Case& one : cases) {
    CAPTURE(one.what);
    CHECK(cpus_with(one.groups, one.files) == one.cpus);
  }
}
