#pragma once
// A vendor's library that offers a test only a few engines. Some compile for a second each, and there are
// dozens for each problem.

#include <memory>
#include <utility>
#include <vector>

#include "taper/ops/vendor/engine_library.h"

namespace taper {

/// While it lives, the library offers only the first engines for a pattern: 2 that compile and 4 that do not.
class FewEngines {
 public:
  static constexpr int kCompiled = 2, kOthers = 4;

  FewEngines() {
    before_ = ops::set_engine_library_loader(kCudnn, {});
    ops::EngineLibraryLoader few;
    if (before_)
      few = [load = before_, left_out = left_out_] { return std::make_unique<Few>(load(), left_out); };
    ops::set_engine_library_loader(kCudnn, few);
  }
  ~FewEngines() { ops::set_engine_library_loader(kCudnn, before_); }
  FewEngines(const FewEngines&) = delete;
  FewEngines& operator=(const FewEngines&) = delete;

  /// Returns how many engines were left out since the last call.
  int take_left_out() { return std::exchange(*left_out_, 0); }

 private:
  static constexpr auto kCudnn = ops::VendorLibrary::kCudnn;

  struct Few final : ops::EngineLibrary {
    Few(std::unique_ptr<ops::EngineLibrary> all_, std::shared_ptr<int> left_out_)
        : all(std::move(all_)), left_out(std::move(left_out_)) {}

    std::string name() const override { return all->name(); }
    std::vector<ops::Engine> engines(const ops::EnginePattern& pattern) override {
      std::vector<ops::Engine> few;
      int compiled = 0, others = 0;
      for (ops::Engine& engine : all->engines(pattern)) {
        const bool takes = engine.compiles ? compiled++ < kCompiled : others++ < kOthers;
        if (takes)
          few.push_back(std::move(engine));
        else
          ++*left_out;
      }
      return few;
    }
    std::unique_ptr<ops::EnginePlan> load(const std::string& serialized) override {
      return all->load(serialized);
    }

    std::unique_ptr<ops::EngineLibrary> all;
    std::shared_ptr<int> left_out;
  };

  ops::EngineLibraryLoader before_;
  std::shared_ptr<int> left_out_ = std::make_shared<int>(0);
};

}  // namespace taper
