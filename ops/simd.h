#pragma once
// The widest vectors of the build's instruction set (-march), by the compiler's vector extensions. Arithmetic
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

/// Results of at least this many bytes have left the caches before they are read again.
inline constexpr int64_t kStreamBytes = int64_t(8) << 20;

template <class T>
struct Simd {
  static constexpr int64_t kLanes = kVectorBytes / int64_t(sizeof(T));
  using Vector [[gnu::vector_size(kVectorBytes)]] = T;
  /// A Vector anywhere in memory: it need not begin on a boundary of its size.
  using Unaligned [[gnu::vector_size(kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;

  static Vector load(const T* from) { return *reinterpret_cast<const Unaligned*>(from); }
  static void store(T* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
  /// Writes past the caches, to a multiple of kVectorBytes. For results that are larger than the last cache,
  /// whose lines would otherwise be read from memory only to be overwritten.
  static void stream(T* to, Vector value) {
#if __has_builtin(__builtin_nontemporal_store)
    __builtin_nontemporal_store(value, reinterpret_cast<Vector*>(to));
#elif defined(__AVX512F__)
    typedef float Floats __attribute__((vector_size(kVectorBytes)));
    __builtin_ia32_movntps512(reinterpret_cast<float*>(to), reinterpret_cast<Floats>(value));
#else
    store(to, value);
#endif
  }
};

}  // namespace taper::ops
