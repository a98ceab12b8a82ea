// Reports misaligned accesses of kernels (shim/alignment.h): the messages, and the functions that the
// compiler's checks call.

#include "taper/core/gpu/sim/shim/alignment.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>
#include <utility>

#include "taper/core/base/error.h"
#include "taper/core/gpu/sim/block.h"

namespace taper::gpu::sim {
namespace {

/// Returns the report for `action`, such as "loads a 'float4'". Says where the memory lies if a kernel runs.
std::string misaligned_text(const char* file, uint32_t line, const std::string& action,
                            const volatile void* address, size_t alignment, const BlockRunner* runner) {
  const auto* place = const_cast<const void*>(address);
  std::string text = fmt::format("misaligned address {}: {}:{} {}, which requires {} byte alignment", place,
                                 file, line, action, alignment);
  if (runner != nullptr) text += "; it is " + describe_place(place, runner);
  return text;
}

}  // namespace

void misaligned(const char* access, const volatile void* address, size_t alignment, const Where& where) {
  BlockRunner* runner = BlockRunner::active();
  std::string text = misaligned_text(where.file_name(), where.line(), fmt::format("calls {}", access),
                                     address, alignment, runner);
  if (runner != nullptr) runner->abandon(std::move(text));
  fail("{}", text);
}

#if TAPER_SIM_ALIGNMENT

// ---------------------------------------------------------------------- what -fsanitize=alignment calls
// The names, and the layout of their arguments, are those of GCC's and clang's libubsan (ubsan_handlers.h).

namespace {

struct SourceLocation {
  const char* file;
  uint32_t line;
  uint32_t column;
};

struct TypeDescriptor {
  uint16_t kind;
  uint16_t info;
  char name[1];  // in quotes, ends with 0
};

struct TypeMismatch {
  SourceLocation place;
  const TypeDescriptor& type;
  unsigned char log_alignment;
  unsigned char access;
};

using Handler = void (*)(TypeMismatch*, void*);

/// Returns text like "loads 'float4'", from libubsan's number for the kind of access.
std::string describe_access(const TypeMismatch& mismatch) {
  static constexpr const char* kVerbs[] = {"loads", "stores", "binds a reference to", "reaches into",
                                           "calls a member of"};
  const char* verb = mismatch.access < std::size(kVerbs) ? kVerbs[mismatch.access] : "uses";
  return fmt::format("{} {}", verb, mismatch.type.name);
}

/// Ends the running kernel. Outside kernels, hands over to the program's own sanitizer; without one, ends the
/// process, because the code is host code in a file with kernels.
void on_mismatch(const char* handler, TypeMismatch* mismatch, void* address) {
  BlockRunner* runner = BlockRunner::active();
  if (runner == nullptr) {
    if (const auto next = reinterpret_cast<Handler>(dlsym(RTLD_NEXT, handler)))
      return next(mismatch, address);
  }
  std::string text = misaligned_text(mismatch->place.file, mismatch->place.line, describe_access(*mismatch),
                                     address, size_t{1} << mismatch->log_alignment, runner);
  if (runner != nullptr) runner->abandon(std::move(text));
  fmt::print(stderr, "taper: {}\n", text);
  std::abort();
}

}  // namespace

// Weak: a program may have a sanitizer's runtime linked into it. That runtime defines these names too, and
// wins. A runtime in a shared library is found by dlsym.
extern "C" {
__attribute__((weak)) void __ubsan_handle_type_mismatch_v1(TypeMismatch* mismatch, void* address) {
  on_mismatch("__ubsan_handle_type_mismatch_v1", mismatch, address);
}
__attribute__((weak)) void __ubsan_handle_type_mismatch_v1_abort(TypeMismatch* mismatch, void* address) {
  on_mismatch("__ubsan_handle_type_mismatch_v1_abort", mismatch, address);
}
}

#endif

}  // namespace taper::gpu::sim
