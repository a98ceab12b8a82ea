#pragma once
// Which thread-local variables are static __shared__ arrays of kernels: for the race detector, which must
// know shared memory from the program's other variables, and name it.

#include <cstdint>
#include <string>
#include <vector>

namespace taper::gpu::sim {

class StaticShared {
 public:
  /// Reads the program's own symbol table. A stripped program has none: then nothing counts as shared.
  StaticShared();

  struct Variable {
    uintptr_t offset;  // in the thread-local segment
    uintptr_t size_bytes;
    std::string name;
  };

  /// The variable of this OS thread that `address` lies in; null if it is not in shared memory.
  const Variable* find(uintptr_t address) const;

 private:
  std::vector<Variable> variables_;  // by offset
};

}  // namespace taper::gpu::sim
