#include "taper/core/op_scope.h"

#include <mutex>
#include <string>
#include <unordered_set>

namespace taper {

std::string_view intern(std::string_view name) {
  static std::mutex mutex;
  static auto& names = *new std::unordered_set<std::string>;  // its strings never move
  const std::lock_guard lock(mutex);
  return *names.emplace(name).first;
}

}  // namespace taper
