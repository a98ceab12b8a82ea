// unfinished_trials() with any file in the place of an abandoned note.

#include "fuzz.h"
#include "taper/ops/algorithms/algorithm_trials.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile note("algorithms.json.trial-abcdef");
  static const std::string path = note.path().substr(0, note.path().rfind(".trial-"));
  note.write({data, size});
  for (const AlgorithmFault& trial : unfinished_trials(path))
    fuzz::require(trial.suspected, "an unfinished trial is a suspicion");
  fuzz::require(unfinished_trials(path).empty(), "a note is read once");
  return 0;
}
