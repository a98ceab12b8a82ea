#include "taper/core/gpu/sim/static_shared.h"

#if TAPER_SIM_RACES

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

namespace taper::gpu::sim {
namespace {

/// Returns the address of this OS thread's copy of the program's thread-local segment.
uintptr_t thread_local_segment() {
  uintptr_t begin = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
        return 1;  // the first entry is the program; the rest are its libraries
      },
      &begin);
  return begin;
}

/// Turns "void reduce<float>(float const*)::tile" into "tile".
std::string last_name(const char* mangled) {
  char* full = abi::__cxa_demangle(mangled, nullptr, nullptr, nullptr);
  std::string name = full != nullptr ? full : mangled;
  std::free(full);
  const size_t colons = name.rfind("::");
  return colons == std::string::npos ? name : name.substr(colons + 2);
}

}  // namespace

StaticShared::StaticShared() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::string image(std::istreambuf_iterator<char>(file), {});
  auto at = [&]<class T>(size_t offset, T& value) {
    if (offset + sizeof(T) <= image.size()) std::memcpy(&value, image.data() + offset, sizeof(T));
  };
  Elf64_Ehdr header{};
  at(0, header);
  for (int s = 0; s < header.e_shnum; ++s) {
    Elf64_Shdr symbols{}, names{};
    at(header.e_shoff + static_cast<size_t>(s) * sizeof(Elf64_Shdr), symbols);
    if (symbols.sh_type != SHT_SYMTAB) continue;
    at(header.e_shoff + symbols.sh_link * sizeof(Elf64_Shdr), names);
    for (size_t i = 0; i < symbols.sh_size / sizeof(Elf64_Sym); ++i) {
      Elf64_Sym symbol{};
      at(symbols.sh_offset + i * sizeof(Elf64_Sym), symbol);
      const char* name = image.data() + names.sh_offset + symbol.st_name;
      // _ZZ: a static variable inside a function. (The guards of their initialisation begin with _ZGV.)
      if (ELF64_ST_TYPE(symbol.st_info) != STT_TLS || std::strncmp(name, "_ZZ", 3) != 0) continue;
      variables_.push_back({symbol.st_value, symbol.st_size, last_name(name)});
    }
  }
  std::sort(variables_.begin(), variables_.end(),
            [](const Variable& a, const Variable& b) { return a.offset < b.offset; });
}

const StaticShared::Variable* StaticShared::find(uintptr_t address) const {
  static thread_local const uintptr_t segment = thread_local_segment();
  const uintptr_t offset = address - segment;
  auto after =
      std::upper_bound(variables_.begin(), variables_.end(), offset,
                       [](uintptr_t value, const Variable& variable) { return value < variable.offset; });
  if (after == variables_.begin()) return nullptr;
  const Variable& variable = *std::prev(after);
  return offset - variable.offset < variable.size_bytes ? &variable : nullptr;
}

}  // namespace taper::gpu::sim

#endif
