#include "taper/nn/train/outcome.h"

#include <algorithm>
#include <cmath>

namespace taper {

const char* name_of(Ending ending) {
  switch (ending) {
    case Ending::kFinished:
      return "finished";
    case Ending::kStoppedEarly:
      return "stopped early";
    case Ending::kInterrupted:
      return "interrupted";
    case Ending::kNotFinite:
      return "nan";
    case Ending::kOutOfMemory:
      return "out of memory";
    case Ending::kFailed:
      return "error";
  }
  return "";
}

double Outcome::images_per_second() const {
  if (speeds.empty()) return 0;
  std::vector<double> sorted = speeds;
  const size_t middle = sorted.size() / 2;
  std::nth_element(sorted.begin(), sorted.begin() + ptrdiff_t(middle), sorted.end());
  return sorted[middle];
}

void check_finite(double loss, const std::string& what, const std::string& when) {
  if (std::isfinite(loss)) return;
  const std::string number = std::isnan(loss) ? "nan" : fmt::format("{}", loss);  // never "-nan"
  if (when.empty()) fail<NotFiniteError>("the {} is {}", what, number);
  fail<NotFiniteError>("the {} became {} {}", what, number, when);
}

}  // namespace taper
