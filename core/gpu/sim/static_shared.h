#pragma once
// Which thread-local variables are static __shared__ arrays of kernels. The race detector must tell shared
// memory from the program's other variables, and name it.

#include <cstdint>
#include <string>
#include <vector>

namespace taper::gpu::sim {

class StaticShared {
 public:
  /// Reads the program's own symbol table. A stripped program has none, so nothing counts as shared.
  StaticShared();

  struct Variable {
    uintptr_t offset;  // in the thread-local segment
    uintptr_t size_bytes;
    std::string name;
  };

  /// Returns the variable of this OS thread that contains `address`; null if it is not in shared memory.
  const Variable* find(uintptr_t address) const;

 private:
  std::vector<Variable> variables_;  // by offset
};

}  // namespace taper::gpu::sim
