// taper-algorithms: what Taper has measured on this machine, and which algorithm won.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "examples/command_line.h"
#include "taper/core/base/error.h"
#include "taper/core/files/program.h"
#include "taper/ops/algorithms/algorithm_file.h"
#include "taper/ops/algorithms/algorithm_trials.h"
#include "taper/version.h"

using namespace taper;

namespace {

constexpr const char* kDescription =
    "Lists which algorithm won for each problem that was measured (resnet50_train --benchmark, or\n"
    "algorithm_cache().set_mode(AlgorithmMode::kBenchmark) in a program of your own), with the median time\n"
    "of every candidate.";

constexpr const char* kExamples =
    "Examples:\n"
    "  taper-algorithms                          everything\n"
    "  taper-algorithms --match 'conv2d forward' convolutions, forward\n"
    "  taper-algorithms --match 2048 --match f32 whatever has both in its text\n"
    "  taper-algorithms --clear                  deletes the file: the next run measures anew\n"
    "  taper-algorithms --forget-faults          lets algorithms be tried again that ended a process\n"
    "\n"
    "How to read it:\n"
    "  gemm forward a=f32[64,2048] b=f32[2048,1000]:strides(1,2048) ...   the problem: shapes, dtypes, "
    "options\n"
    "    * packed        0.312 ms                                         the winner\n"
    "      dot products  0.355 ms   1.14x                                 and how much longer the others "
    "took\n"
    "      eigen         0.501 ms   1.61x\n"
    "Candidates are in the order in which the cost model expected them, best first.\n"
    "A problem is measured again when the CPU or GPU, the number of threads, Taper's version or the set of\n"
    "candidates differs. TAPER_VERIFY_ALGORITHMS=1 in the environment of a program that measures compares\n"
    "results too, and rejects candidates that are wrong. TAPER_ALGORITHM_DENY=NAME,NAME leaves out "
    "those\n"
    "with one of these in their name.";

struct Options {
  std::string file = default_algorithm_file();
  std::vector<std::string> match;
  bool clear = false, forget_faults = false;
};

bool matches(const AlgorithmRecord& record, const std::vector<std::string>& words) {
  return std::all_of(words.begin(), words.end(), [&](const std::string& word) {
    return record.problem.find(word) != std::string::npos ||
           record.environment.find(word) != std::string::npos;
  });
}

/// Returns the time of the candidate called `name`; 0 if there is none.
double time_of(const AlgorithmRecord& record, const std::string& name) {
  for (const AlgorithmTiming& timing : record.candidates) {
    if (timing.name == name) return timing.median_ms;
  }
  return 0;
}

void print(const AlgorithmRecord& record) {
  const double best_ms = time_of(record, record.winner);
  size_t width = 0;
  for (const AlgorithmTiming& timing : record.candidates) width = std::max(width, timing.name.size());
  print_out("{}\n", record.problem);
  for (const AlgorithmTiming& timing : record.candidates) {
    const bool won = timing.name == record.winner;
    print_out("  {} {:{}}", won ? '*' : ' ', timing.name, width);
    if (timing.median_ms > 0) print_out("  {:9.3f} ms", timing.median_ms);
    if (!won && timing.median_ms > 0) print_out("  {:6.2f}x", timing.median_ms / best_ms);
    if (!timing.rejected.empty()) print_out("  {}", timing.rejected);
    if (timing.left_out) print_out("  left out: {:g} s were over", record.seconds_allowed);
    print_out("\n");
  }
}

/// Prints what measuring saved, over all records.
void print_sum(const std::vector<AlgorithmRecord>& records) {
  double best_ms = 0, expected_ms = 0;
  for (const AlgorithmRecord& record : records) {
    const double first_ms = record.candidates.empty() ? 0 : record.candidates[0].median_ms;
    if (first_ms == 0) continue;
    best_ms += time_of(record, record.winner);
    expected_ms += first_ms;
  }
  if (best_ms == 0) return;
  print_out("Each once: {:.2f} ms for the winners, {:.2f} ms for those the cost model put first ({:.2f}x).\n",
            best_ms, expected_ms, expected_ms / best_ms);
}

/// Prints the candidates that are not tried again.
void print_faults(const std::vector<AlgorithmFault>& faults) {
  if (faults.empty()) return;
  print_out("\nNot tried again, or suspected (--forget-faults):\n");
  for (const AlgorithmFault& fault : faults)
    print_out("{}\n  {}  {}\n", fault.problem, fault.algorithm,
              fault.suspected ? "a process ended while it was tried; it is tried once more" : fault.what);
}

void list(const Options& options) {
  std::vector<AlgorithmRecord> records;
  for (const auto& [key, record] : AlgorithmFile(options.file).read()) {
    if (matches(record, options.match)) records.push_back(record);
  }
  if (records.empty()) {
    print_out("{}: nothing measured{}\n", printable(options.file),
              options.match.empty() ? " yet" : " that matches");
    print_faults(AlgorithmFile(options.file).faults());
    return;
  }
  std::stable_sort(records.begin(), records.end(), [](const AlgorithmRecord& a, const AlgorithmRecord& b) {
    return a.environment < b.environment;
  });
  for (size_t i = 0; i < records.size(); ++i) {
    if (i == 0 || records[i].environment != records[i - 1].environment)
      print_out("{}On {}:\n\n", i == 0 ? "" : "\n", records[i].environment);
    print(records[i]);
  }
  print_out("\n{} {} in {}.\n", records.size(), records.size() == 1 ? "problem" : "problems",
            printable(options.file));
  print_sum(records);
  print_faults(AlgorithmFile(options.file).faults());
}

int run(const Options& options) {
  if (options.file.empty()) {
    print_out("Measurements are kept in no file: TAPER_ALGORITHM_CACHE is empty, or HOME is not set.\n");
  } else if (options.clear) {
    const bool removed = AlgorithmFile(options.file).remove();
    unfinished_trials(options.file);  // also removes the notes of processes that have ended
    print_out("{}: {}\n", printable(options.file), removed ? "deleted" : "not there");
  } else if (options.forget_faults) {
    const size_t forgotten =
        unfinished_trials(options.file).size() + AlgorithmFile(options.file).forget_faults();
    print_out("{}: {} faults forgotten\n", printable(options.file), forgotten);
  } else {
    list(options);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  start_program("taper-algorithms");
  Options options;
  CLI::App app(kDescription, "taper-algorithms");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("Taper ") + kVersion);
  app.add_option("--file", options.file, "where measurements are kept (TAPER_ALGORITHM_CACHE)")
      ->type_name("FILE")
      ->capture_default_str();
  auto* match =
      app.add_option("--match", options.match, "only problems with this in their text; may be repeated")
          ->type_name("TEXT");
  auto* clear = app.add_flag("--clear", options.clear, "delete the file")->excludes(match);
  app.add_flag("--forget-faults", options.forget_faults,
               "let algorithms be tried again that ended a process or lost it its GPU")
      ->excludes(match)
      ->excludes(clear);
  if (const auto exit_code = parse_command_line(app, argc, argv)) return *exit_code;
  return run_program([&] { return run(options); });
}
