#include "taper/nn/data/dataset.h"

#include <algorithm>

#include "taper/core/base/error.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"

namespace taper {

std::string Dataset::describe(int64_t index) const {
  return fmt::format("sample {}", index);
}

void check_same_classes(const Dataset& train, const Dataset& validation) {
  const auto require = [](const Dataset& a, const Dataset& b, const char* where) {
    for (const std::string& name : a.class_names())
      TAPER_CHECK(std::ranges::count(b.class_names(), name),
                  "class {} is missing in the {} data; both need the same class folders", quote_name(name),
                  where);
  };
  require(train, validation, "validation");
  require(validation, train, "training");
}

std::vector<std::vector<int64_t>> samples_by_class(const Dataset& dataset) {
  std::vector<std::vector<int64_t>> members(size_t(dataset.num_classes()));
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const int64_t label = dataset.label(i);
    TAPER_CHECK(label >= 0 && label < dataset.num_classes(), "{} is of class {}, but there are {} classes",
                dataset.describe(i), label, dataset.num_classes());
    members[size_t(label)].push_back(i);
  }
  return members;
}

void check_readable(const Dataset& dataset) {
  const auto members = samples_by_class(dataset);
  // What is wrong with the first image of each class without a readable one; empty for other classes.
  std::vector<std::string> problems(members.size());
  parallel_chunks(int64_t(members.size()), [&](int64_t label) {
    std::string& problem = problems[size_t(label)];
    for (const int64_t index : members[size_t(label)]) {
      try {
        dataset.get(index);
        problem.clear();
        return;
      } catch (const FileError& error) {
        if (problem.empty()) problem = error.what();
      }
    }
  });
  for (size_t label = 0; label < members.size(); ++label)
    if (!problems[label].empty())
      fail<FileError>("class {}: none of its {} images can be read; the first: {}",
                      quote_name(dataset.class_names()[label]), members[label].size(), problems[label]);
}

}  // namespace taper
