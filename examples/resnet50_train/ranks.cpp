#include "ranks.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "examples/command_line.h"
#include "taper/core/base/available_cpus.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/collective/nccl_collectives.h"

namespace taper {

const char* name_of_process() {
  std::optional<RankPlace> place;
  try {
    place = rank_place();
  } catch (const Error&) {
    return "resnet50_train";  // main() says what is wrong
  }
  static const std::string name =
      place && place->size > 1 ? fmt::format("resnet50_train (rank {})", place->rank) : "resnet50_train";
  return name.c_str();
}

std::optional<Exit> parse_as_rank(int argc, char** argv, TrainOptions& options) {
  const auto place = rank_place();
  if (!place || place->rank == 0) return parse_options(argc, argv, options);
  if (std::freopen("/dev/null", "w", stdout) == nullptr) std::fclose(stdout);
  const int real = ::dup(STDERR_FILENO);
  std::FILE* const held = std::tmpfile();
  if (held == nullptr || real < 0) return parse_options(argc, argv, options);
  ::dup2(::fileno(held), STDERR_FILENO);
  const std::optional<Exit> exit = parse_options(argc, argv, options);
  std::fflush(stderr);
  ::dup2(real, STDERR_FILENO);
  ::close(real);
  if (exit && exit->code != 0) {
    let_rank_0_speak(options);
    std::rewind(held);
    for (int letter = std::fgetc(held); letter != EOF; letter = std::fgetc(held)) std::fputc(letter, stderr);
  }
  std::fclose(held);
  return exit;
}

void let_rank_0_speak(const TrainOptions& options) {
  constexpr std::chrono::seconds kPatience{5};
  if (options.place.rank > 0) std::this_thread::sleep_for(kPatience);
}

/// Returns the host's name and the CPUs of it that this process may run on.
static std::string describe_cpus() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  std::string text = host;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) text += fmt::format(" {}", cpu);
  return text;
}

/// The share of the CPUs that this rank may use and others as well.
static int threads_of_rank(ProcessGroup& group) {
  const std::string own = describe_cpus();
  const std::vector<std::string> all = group.gather_texts(own, "CPUs");
  return std::max(available_cpus() / int(std::ranges::count(all, own)), 1);
}

/// The flags of this rank, a line each, without those that each rank may have as it likes.
static std::string flags_in_common(const TrainOptions& options) {
  static const std::set<std::string> kOwn = {
      "data",    "val",    "init",          "pretrained", "device",           "threads",       "workers",
      "log",     "report", "summary",       "profile",    "progress",         "memory-report", "tensorboard",
      "timeout", "tf32",   "flight-record", "benchmark",  "benchmark-seconds"};
  std::map<std::string, std::string> flags;
  for (const auto& [name, value] : options.given)
    if (!kOwn.contains(name)) flags[name] = value;
  std::string text;
  for (const auto& [name, value] : flags)
    text += fmt::format("--{}{}{}\n", name, value.empty() ? "" : " ", value);
  return text;
}

/// Throws Error if rank `a` has a flag in its lines that rank `b` has not.
static void check_has_flags_of(int a, const std::string& lines_of_a, int b, const std::string& lines_of_b) {
  std::istringstream lines(lines_of_a);
  for (std::string line; std::getline(lines, line);)
    TAPER_CHECK(("\n" + lines_of_b).find("\n" + line + "\n") != std::string::npos,
                "the ranks' flags differ: rank {} has {}, and rank {} has not; give all ranks the same", a,
                line, b);
}

/// Refuses ranks that would train something else than rank 0.
static void check_flags_of_ranks(ProcessGroup& group, const TrainOptions& options) {
  const std::vector<std::string> all = group.gather_texts(flags_in_common(options), "flags");
  for (size_t rank = 1; rank < all.size(); ++rank) {
    check_has_flags_of(int(rank), all[rank], 0, all[0]);
    check_has_flags_of(0, all[0], int(rank), all[rank]);
  }
}

void settle(ProcessGroup& group, TrainOptions& options) {
  as_bad_input([&] { check_flags_of_ranks(group, options); });
  RankPlace& place = options.place;
  if (place.local_size == 0) {
    const std::vector<std::string> hosts = group.gather_texts(group.host(), "hosts");
    place.local_size = int(std::ranges::count(hosts, group.host()));
    place.local_rank = int(std::count(hosts.begin(), hosts.begin() + place.rank, group.host()));
  }
  if (options.device.is_cuda() && !gpu::is_simulated() && options.device.index == 0)
    options.device.index = place.local_rank % std::max(gpu::device_count(), 1);
  if (options.threads == 0) set_num_threads(threads_of_rank(group));
  if (options.flight_record.empty()) return group.record_flight_to(options.checkpoint_dir);
  as_bad_input([&] {
    std::error_code failure;
    std::filesystem::create_directories(options.flight_record, failure);
    TAPER_CHECK(!failure, "--flight-record: cannot make the folder {}: {}", printable(options.flight_record),
                failure.message());
  });
  group.record_flight_to(options.flight_record);
}

std::string connect_gpus(ProcessGroup& group, Device device) {
  if (device.is_cpu() || gpu::is_simulated()) return {};
  const std::string refusal = use_nccl(group, device.index);
  if (refusal.empty()) return "gradients go from GPU to GPU, through NCCL";
  return fmt::format("gradients go through host memory, not through NCCL: {}", refusal);
}

int code_of_rank_0(ProcessGroup& group, int code) {
  const Tensor told = from_vector<int64_t>({code});
  group.broadcast(told, 0, "exit code").wait();
  return int(told.data<int64_t>()[0]);
}

}  // namespace taper
