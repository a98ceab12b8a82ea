#pragma once
// What taper-predict prints, in its three formats.

#include <memory>
#include <string>
#include <vector>

#include "options.h"
#include "taper/core/files/atomic_file.h"

namespace taper {

struct PredictedClass {
  int64_t index = 0;
  float probability = 0;
};

/// An image and its most probable classes, best first.
struct Prediction {
  std::string image;
  std::vector<PredictedClass> classes;
};

/// Turns predictions into text. A name may hold any bytes: see each format.
class PredictionFormat {
 public:
  explicit PredictionFormat(std::vector<std::string> class_names) : class_names_(std::move(class_names)) {}
  virtual ~PredictionFormat() = default;
  /// Returns what comes before all predictions.
  virtual std::string header() const { return ""; }
  virtual std::string rows(const Prediction& prediction) const = 0;

 protected:
  const std::string& name_of(const PredictedClass& one) const { return class_names_[size_t(one.index)]; }

 private:
  std::vector<std::string> class_names_;
};

/// Returns the format that the options name. `images` are all that will come, by which the table chooses its width.
std::unique_ptr<PredictionFormat> make_format(const PredictOptions& options,
                                              std::vector<std::string> class_names,
                                              const std::vector<std::string>& images);

/// Where the text goes: standard output, as it comes, or a file that is there once all is written.
class PredictionOutput {
 public:
  /// `path`: empty for standard output. Throws FileError if the file cannot be written.
  explicit PredictionOutput(const std::string& path);
  void write(const std::string& text);
  /// Puts the file in its place.
  void commit();

 private:
  std::unique_ptr<AtomicFile> file_;
};

}  // namespace taper
