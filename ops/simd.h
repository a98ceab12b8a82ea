#pragma once
// The widest vectors of the build's instruction set (-march), by the compiler's vector extensions: arithmetic
// is written with operators and compiles anywhere.

#include <cstdint>

namespace taper::ops {

#if defined(__AVX512F__)
inline constexpr int64_t kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr int64_t kVectorBytes = 32;
#else
inline constexpr int64_t kVectorBytes = 16;
#endif

template <class T>
struct Simd {
  static constexpr int64_t kLanes = kVectorBytes / int64_t(sizeof(T));
  using Vector [[gnu::vector_size(kVectorBytes)]] = T;
  /// The same anywhere in memory: it need not begin on a boundary of its size.
  using Unaligned [[gnu::vector_size(kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;

  static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void store(T* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
};

}  // namespace taper::ops
