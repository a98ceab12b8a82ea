#pragma once
// CUDA's vector types: int2, float4, dim3, ... with their make_ functions, layout and alignment.

namespace taper::gpu::sim {
constexpr unsigned long vector_alignment(unsigned long element_bytes, int count) {
  return count == 3 ? element_bytes : element_bytes * count > 16 ? 16 : element_bytes * count;
}
}  // namespace taper::gpu::sim

// clang-format off
#define TAPER_VECTOR_TYPES(name, element)                                                                          \
  struct alignas(::taper::gpu::sim::vector_alignment(sizeof(element), 1)) name##1 { element x; };                  \
  struct alignas(::taper::gpu::sim::vector_alignment(sizeof(element), 2)) name##2 { element x, y; };               \
  struct alignas(::taper::gpu::sim::vector_alignment(sizeof(element), 3)) name##3 { element x, y, z; };            \
  struct alignas(::taper::gpu::sim::vector_alignment(sizeof(element), 4)) name##4 { element x, y, z, w; };         \
  constexpr name##1 make_##name##1(element x) { return {x}; }                                                      \
  constexpr name##2 make_##name##2(element x, element y) { return {x, y}; }                                        \
  constexpr name##3 make_##name##3(element x, element y, element z) { return {x, y, z}; }                          \
  constexpr name##4 make_##name##4(element x, element y, element z, element w) { return {x, y, z, w}; }

TAPER_VECTOR_TYPES(char, signed char)
TAPER_VECTOR_TYPES(uchar, unsigned char)
TAPER_VECTOR_TYPES(short, short)
TAPER_VECTOR_TYPES(ushort, unsigned short)
TAPER_VECTOR_TYPES(int, int)
TAPER_VECTOR_TYPES(uint, unsigned int)
TAPER_VECTOR_TYPES(long, long)
TAPER_VECTOR_TYPES(ulong, unsigned long)
TAPER_VECTOR_TYPES(longlong, long long)
TAPER_VECTOR_TYPES(ulonglong, unsigned long long)
TAPER_VECTOR_TYPES(float, float)
TAPER_VECTOR_TYPES(double, double)
#undef TAPER_VECTOR_TYPES
// clang-format on

struct dim3 {
  unsigned int x = 1, y = 1, z = 1;
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
