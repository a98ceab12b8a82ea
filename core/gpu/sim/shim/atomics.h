#pragma once
// Atomic functions on device and shared memory, with CUDA's names and types and relaxed ordering. Each
// returns the old value.
//
// Blocks run on several CPU cores, so these are real atomics. Floating-point sums over blocks depend on the
// order in which blocks finish, as on hardware.

#include <atomic>
#include <concepts>
#include <type_traits>

#include "taper/core/gpu/sim/shim/alignment.h"
#include "taper/core/gpu/sim/shim/half.h"

namespace taper::gpu::sim {

// An integer of T's size, for compare-and-exchange.
template <class T>
using Word =
    std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;

/// Replaces *address by update(*address). Returns the old value.
template <class T, class Update>
T atomic_update(T* address, Update update) {
  auto* word = reinterpret_cast<Word<T>*>(address);
  Word<T> old_bits = __atomic_load_n(word, __ATOMIC_RELAXED);
  for (;;) {
    const T old = std::bit_cast<T>(old_bits);
    const auto next = std::bit_cast<Word<T>>(static_cast<T>(update(old)));
    if (__atomic_compare_exchange_n(word, &old_bits, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
      return old;
  }
}

template <class T>
concept AtomicInt = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long long>;
template <class T>
concept AtomicOrdered = AtomicInt<T> || std::same_as<T, long long>;
template <class T>
concept AtomicFloat = std::same_as<T, float> || std::same_as<T, double> || Half<T> || HalfPair<T>;

}  // namespace taper::gpu::sim

template <taper::gpu::sim::AtomicInt T>
T atomicAdd(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicAdd", address, sizeof(T), where);
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}

template <taper::gpu::sim::AtomicFloat T>
T atomicAdd(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicAdd", address, sizeof(T), where);
  return taper::gpu::sim::atomic_update(address, [value](T old) { return old + value; });
}

template <class T>
requires(std::same_as<T, int> || std::same_as<T, unsigned>) T
    atomicSub(T* address, std::type_identity_t<T> value,
              taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicSub", address, sizeof(T), where);
  return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED);
}

template <taper::gpu::sim::AtomicOrdered T>
T atomicMax(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicMax", address, sizeof(T), where);
  return taper::gpu::sim::atomic_update(address, [value](T old) { return old < value ? value : old; });
}

template <taper::gpu::sim::AtomicOrdered T>
T atomicMin(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicMin", address, sizeof(T), where);
  return taper::gpu::sim::atomic_update(address, [value](T old) { return value < old ? value : old; });
}

template <class T>
requires(taper::gpu::sim::AtomicInt<T> || std::same_as<T, float>) T
    atomicExch(T* address, std::type_identity_t<T> value,
               taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicExch", address, sizeof(T), where);
  return taper::gpu::sim::atomic_update(address, [value](T) { return value; });
}

template <class T>
requires(taper::gpu::sim::AtomicInt<T> || std::same_as<T, unsigned short>) T
    atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value,
              taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicCAS", address, sizeof(T), where);
  __atomic_compare_exchange_n(address, &compare, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return compare;
}

template <taper::gpu::sim::AtomicOrdered T>
T atomicAnd(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicAnd", address, sizeof(T), where);
  return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);
}

template <taper::gpu::sim::AtomicOrdered T>
T atomicOr(T* address, std::type_identity_t<T> value,
           taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicOr", address, sizeof(T), where);
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

template <taper::gpu::sim::AtomicOrdered T>
T atomicXor(T* address, std::type_identity_t<T> value,
            taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicXor", address, sizeof(T), where);
  return __atomic_fetch_xor(address, value, __ATOMIC_RELAXED);
}

/// Counts up to `limit`, then starts again at 0.
inline unsigned atomicInc(unsigned* address, unsigned limit,
                          taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicInc", address, sizeof(unsigned), where);
  return taper::gpu::sim::atomic_update(address,
                                        [limit](unsigned old) { return old >= limit ? 0u : old + 1; });
}

/// Counts down from `limit`; 0 and values above the limit become the limit.
inline unsigned atomicDec(unsigned* address, unsigned limit,
                          taper::gpu::sim::Where where = taper::gpu::sim::Where::current()) {
  taper::gpu::sim::check_aligned("atomicDec", address, sizeof(unsigned), where);
  return taper::gpu::sim::atomic_update(
      address, [limit](unsigned old) { return old == 0 || old > limit ? limit : old - 1; });
}

inline void __threadfence() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_block() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
inline void __threadfence_system() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
}
