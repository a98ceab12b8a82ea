// AlgorithmFile: reading any file, and adding to what it holds.

#include "fuzz.h"
#include "taper/ops/algorithms/algorithm_file.h"

using namespace taper;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("algorithms.json");
  input.write({data, size});
  const AlgorithmFile file(input.path());
  const AlgorithmTable records = file.read();
  const size_t faults = file.faults().size();
  for (const auto& [key, record] : records) fuzz::require(key == record.key(), "a record is under its key");
  if (records.empty()) return 0;
  fuzz::require(file.add(records.begin()->second).size() == records.size(), "a known record replaces itself");
  fuzz::require(file.read().size() == records.size() && file.faults().size() == faults, "nothing is lost");
  return 0;
}
