#pragma once
// What reductions do with values. Each reducer folds values, in the order of their positions, into a State.
//   start()                                      the state of no values
//   add_row(state, x, count, position)           adds `count` values from a contiguous array
//   add_to_columns(states, x, count, position)   adds one value to each of `count` states
//   merge(state, later)                          merges two stretches, the second after the first
// `position` is that of the first value (of all values, for columns) along the reduced axes.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace taper::ops {

/// Folds a contiguous row with f in 16 independent lanes, which vectorise, then folds the lanes with `merge`.
template <class State, class T, class Fold, class Merge>
State fold_row(const T* x, int64_t count, State start, Fold fold, Merge merge) {
  constexpr int64_t kLanes = 16;
  State lanes[kLanes];
  std::fill_n(lanes, kLanes, start);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = fold(lanes[lane], x[i + lane]);
  }
  for (int64_t lane = 0; i + lane < count; ++lane) lanes[lane] = fold(lanes[lane], x[i + lane]);
  const int64_t used = std::min(count, kLanes);
  for (int64_t lane = 1; lane < used; ++lane) lanes[0] = merge(lanes[0], lanes[lane]);
  return lanes[0];
}

/// Both loops of a reducer that has fold(state, value) and needs no positions.
template <class Reducer>
struct RowsAndColumns {
  template <class State, class T>
  static void add_row(State& state, const T* x, int64_t count, int64_t /*position*/) {
    state = Reducer::merge(state,
                           fold_row(x, count, Reducer::start(), Reducer::template fold<T>, Reducer::merge));
  }
  template <class State, class T>
  static void add_to_columns(State* states, const T* x, int64_t count, int64_t /*position*/) {
    for (int64_t i = 0; i < count; ++i) states[i] = Reducer::fold(states[i], x[i]);
  }
};

template <class T>
using Accumulator = std::conditional_t<std::is_integral_v<T>, int64_t, double>;

template <class A>
struct Sum : RowsAndColumns<Sum<A>> {
  using State = A;
  static A start() { return 0; }
  template <class T>
  static A fold(A state, T value) {
    // Integers wrap around.
    if constexpr (std::is_integral_v<A>)
      return A(uint64_t(state) + uint64_t(value));
    else
      return state + A(value);
  }
  static A merge(A state, A later) { return fold(state, later); }
};

struct SumOfSquares : RowsAndColumns<SumOfSquares> {
  using State = double;
  static double start() { return 0; }
  template <class T>
  static double fold(double state, T value) {
    return state + double(value) * double(value);
  }
  static double merge(double state, double later) { return state + later; }
};

/// The largest (kSign = 1) or smallest (-1) value. A NaN wins.
template <class V, int kSign>
struct Extreme : RowsAndColumns<Extreme<V, kSign>> {
  using State = V;
  static bool better(V value, V state) {
    return (kSign > 0 ? value > state : value < state) || value != value;
  }
  static V start() {
    using Limits = std::numeric_limits<V>;
    if constexpr (Limits::has_infinity)
      return kSign > 0 ? -Limits::infinity() : Limits::infinity();
    else
      return kSign > 0 ? Limits::lowest() : Limits::max();
  }
  template <class T>
  static V fold(V state, T value) {
    return better(value, state) ? value : state;
  }
  static V merge(V state, V later) { return fold(state, later); }
};

template <bool kAll>
struct Truth : RowsAndColumns<Truth<kAll>> {
  using State = int64_t;
  static int64_t start() { return kAll; }
  template <class T>
  static int64_t fold(int64_t state, T value) {
    return kAll ? int64_t(value != 0) & state : int64_t(value != 0) | state;
  }
  static int64_t merge(int64_t state, int64_t later) { return fold(state, later); }
};

/// An extreme with its first position. Equal values never replace it, so starting at position 0 is right even
/// if all values equal start().
template <class V, int kSign>
struct IndexedExtreme {
  using Values = Extreme<V, kSign>;
  struct State {
    V value;
    int64_t index;
  };
  static State start() { return {Values::start(), 0}; }
  static bool replaces(V value, V best) { return Values::better(value, best) && best == best; }
  static void add_row(State& state, const V* x, int64_t count, int64_t position) {
    const V best = fold_row(x, count, Values::start(), Values::template fold<V>, Values::merge);
    if (!replaces(best, state.value)) return;
    const V* at = std::find_if(x, x + count, [best](V v) { return v == best || (v != v && best != best); });
    state = {best, position + (at - x)};
  }
  static void add_to_columns(State* states, const V* x, int64_t count, int64_t position) {
    for (int64_t i = 0; i < count; ++i) {
      if (replaces(x[i], states[i].value)) states[i] = {x[i], position};
    }
  }
  static State merge(State state, State later) { return replaces(later.value, state.value) ? later : state; }
};

}  // namespace taper::ops
