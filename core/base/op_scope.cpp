#include "taper/core/base/op_scope.h"

#include <mutex>
#include <string>
#include <unordered_set>

#include "taper/core/base/fork.h"

namespace taper {

constinit std::atomic<unsigned> detail::op_listeners{0};

std::string_view intern(std::string_view name) {
  struct Names {
    std::mutex mutex;
    std::unordered_set<std::string> texts;  // which never move

    Names() { hold_over_fork(mutex); }
  };
  static Names& names = *new Names;
  const std::lock_guard lock(names.mutex);
  return *names.texts.emplace(name).first;
}

}  // namespace taper
