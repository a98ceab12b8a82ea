// available_cpus() with any text in the place of what the kernel says of cgroups: the list of the process's
// groups, and after a byte of 0 the quotas, which all groups share.

#include <algorithm>

#include "fuzz.h"
#include "taper/core/base/available_cpus.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile groups("cgroup"), quota("cpu.max");
  static const std::string folder = quota.path().substr(0, quota.path().rfind('/'));
  const std::span<const uint8_t> bytes(data, size);
  const size_t zero = size_t(std::find(bytes.begin(), bytes.end(), 0) - bytes.begin());
  groups.write(bytes.first(zero));
  quota.write(bytes.subspan(std::min(zero + 1, size)));
  const int unlimited = available_cpus(folder + "/none", folder);
  const int cpus = available_cpus(groups.path(), folder);
  fuzz::require(cpus >= 1 && cpus <= unlimited, "a quota leaves at least one CPU and adds none");
  return 0;
}
