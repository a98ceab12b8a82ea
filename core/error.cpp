#include "taper/core/error.h"

#include "taper/core/printable.h"

namespace taper {

Error::Error(const std::string& message) : std::runtime_error(printable(message)) {}

}  // namespace taper
