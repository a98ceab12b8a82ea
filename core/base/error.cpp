#include "taper/core/base/error.h"

#include "taper/core/base/printable.h"

namespace taper {

Error::Error(const std::string& message) : std::runtime_error(printable(message)) {}

}  // namespace taper
