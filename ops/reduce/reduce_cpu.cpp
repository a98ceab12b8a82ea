#include "taper/ops/reduce/reduce_cpu.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/reduce/reducers.h"

namespace taper::ops {
namespace {

/// A tensor as a matrix of kept by reduced dimensions, or of reduced by kept ones: whichever walks memory in
/// smaller steps.
struct ReductionMatrix {
  ReductionMatrix(const Tensor& x, const Tensor& out, const Dims& axes)
      : ReductionMatrix(std::array{&x, &out}, axes) {}

  StridedLoop kept;     ///< operands: x, out
  StridedLoop reduced;  ///< operand: x
  bool reduced_inside = false;
  Shape shape;  ///< of all elements, in reading order
  LoopOperand input;

 private:
  ReductionMatrix(const std::array<const Tensor*, 2>& tensors, const Dims& axes)
      : kept(tensors, others(*tensors[0], axes)), reduced(std::span(tensors).first(1), axes) {
    const int64_t kept_step = kept.numel == 1 ? INT64_MAX : kept.operands[0].strides.back();
    const int64_t reduced_step = reduced.numel == 1 ? INT64_MAX : reduced.operands[0].strides.back();
    reduced_inside = reduced_step <= kept_step;
    const StridedLoop& outer = reduced_inside ? kept : reduced;
    const StridedLoop& inner = reduced_inside ? reduced : kept;
    input = outer.operands[0];
    input.strides = {};
    for (const StridedLoop* loop : {&outer, &inner}) {
      if (loop->numel == 1) continue;
      for (int64_t axis = 0; axis < loop->shape.size(); ++axis) {
        shape.push_back(loop->shape[axis]);
        input.strides.push_back(loop->operands[0].strides[axis]);
      }
    }
    if (shape.empty()) {
      shape.push_back(1);
      input.strides.push_back(1);
    }
    merge_dimensions(shape, &input, 1);
  }

  static Dims others(const Tensor& x, const Dims& axes) {
    Dims result;
    for (int64_t axis = 0; axis < x.dim(); ++axis) {
      if (!axes.contains(axis)) result.push_back(axis);
    }
    return result;
  }
};

/// Reduces a matrix with reduced dimensions inside: each output folds a row. Long rows are cut into pieces.
template <class Reducer, class T, class State>
int64_t reduce_rows(const ReductionMatrix& matrix, std::vector<State>& states) {
  const int64_t length = matrix.reduced.numel, outputs = matrix.kept.numel;
  const int64_t piece = std::min(length, kGrainSize);
  const int64_t pieces = ceil_div(length, piece);
  states.assign(size_t(outputs * pieces), Reducer::start());
  const int64_t rows_at_once = std::max<int64_t>(kBlockSize / length, 1);
  const auto fold_rows = [&](int64_t begin, int64_t end) {
    T buffer[kBlockSize];
    for (int64_t row = begin; row < end; row += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, end - row);
      const T* x = load_block(matrix.input, matrix.shape, row * length, rows * length, buffer);
      for (int64_t i = 0; i < rows; ++i) Reducer::add_row(states[size_t(row + i)], x + i * length, length, 0);
    }
  };
  const auto fold_pieces = [&](int64_t begin, int64_t end) {
    T buffer[kBlockSize];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / pieces, first = i % pieces * piece;
      State& state = states[size_t(i % pieces * outputs + row)];
      for (int64_t at = first; at < std::min(first + piece, length); at += kBlockSize) {
        const int64_t count = std::min({kBlockSize, first + piece - at, length - at});
        const T* x = load_block(matrix.input, matrix.shape, row * length + at, count, buffer);
        Reducer::add_row(state, x, count, at);
      }
    }
  };
  const int64_t grain = std::max<int64_t>(kGrainSize / piece, 1);
  if (length <= kBlockSize) {
    parallel_for(outputs, grain, fold_rows);
  } else {
    parallel_for(outputs * pieces, grain, fold_pieces);
  }
  return pieces;
}

/// Reduces a matrix with kept dimensions inside: rows are added to an array of states. Both sides are cut
/// into pieces.
template <class Reducer, class T, class State>
int64_t reduce_columns(const ReductionMatrix& matrix, std::vector<State>& states) {
  const int64_t rows = matrix.reduced.numel, columns = matrix.kept.numel;
  const int64_t width = std::min(columns, kBlockSize);
  const int64_t column_pieces = ceil_div(columns, width);
  const int64_t rows_per_piece = std::max<int64_t>(2 * kGrainSize / width, 1);
  const int64_t row_pieces = ceil_div(rows, rows_per_piece);
  states.assign(size_t(columns * row_pieces), Reducer::start());
  const int64_t rows_at_once = column_pieces > 1 ? 1 : kBlockSize / width;
  parallel_for(column_pieces * row_pieces, 1, [&](int64_t task, int64_t) {
    const int64_t row_piece = task / column_pieces, column = task % column_pieces * width;
    const int64_t count = std::min(width, columns - column);
    State* piece_states = states.data() + row_piece * columns + column;
    const int64_t end = std::min((row_piece + 1) * rows_per_piece, rows);
    T buffer[kBlockSize];
    for (int64_t row = row_piece * rows_per_piece; row < end; row += rows_at_once) {
      const int64_t taken = std::min(rows_at_once, end - row);
      const T* x = load_block(matrix.input, matrix.shape, row * columns + column,
                              taken == 1 ? count : taken * columns, buffer);
      for (int64_t i = 0; i < taken; ++i) {
        Reducer::add_to_columns(piece_states, x + i * columns, count, row + i);
      }
    }
  });
  return row_pieces;
}

/// Reduces x over `axes`. Calls store(states of outputs [begin, begin + count), begin, count) in pieces, with
/// outputs in the order of matrix.kept.
template <class Reducer, class T, class Store>
void reduce_matrix(const ReductionMatrix& matrix, Store store) {
  using State = typename Reducer::State;
  const int64_t outputs = matrix.kept.numel;
  std::vector<State> states(size_t(outputs), Reducer::start());
  int64_t pieces = 1;
  if (matrix.reduced.numel > 0) {
    pieces = matrix.reduced_inside ? reduce_rows<Reducer, T>(matrix, states)
                                   : reduce_columns<Reducer, T>(matrix, states);
  }
  parallel_for(outputs, kBlockSize, [&](int64_t begin, int64_t end) {
    for (int64_t piece = 1; piece < pieces; ++piece) {
      const State* later = states.data() + piece * outputs;
      for (int64_t i = begin; i < end; ++i) states[size_t(i)] = Reducer::merge(states[size_t(i)], later[i]);
    }
    store(states.data() + begin, begin, end - begin);
  });
}

template <class Reducer, class T, class Finish>
void reduce_to(const ReductionMatrix& matrix, Finish finish) {
  using State = typename Reducer::State;
  reduce_matrix<Reducer, T>(matrix, [&](State* states, int64_t begin, int64_t count) {
    for (int64_t i = 0; i < count; ++i) states[i] = State(finish(states[i]));
    store_block(matrix.kept.operands[1], matrix.kept.shape, begin, count, states);
  });
}

template <class Reducer, class V>
void reduce_with_index(const ReductionMatrix& matrix, const Tensor& indices, const Tensor& values) {
  // `indices` has the strides of `values`, so it takes the place of `values` in the loop.
  LoopOperand index_operand = matrix.kept.operands[1];
  index_operand.data = static_cast<char*>(indices.data_ptr());
  index_operand.dtype = kInt64;
  static_cast<void>(values);
  reduce_matrix<Reducer, V>(matrix, [&](typename Reducer::State* states, int64_t begin, int64_t count) {
    V value[kBlockSize];
    int64_t index[kBlockSize];
    for (int64_t i = 0; i < count; ++i) {
      value[i] = states[i].value;
      index[i] = states[i].index;
    }
    store_block(matrix.kept.operands[1], matrix.kept.shape, begin, count, value);
    store_block(index_operand, matrix.kept.shape, begin, count, index);
  });
}

}  // namespace

void reduce_cpu(ReduceOp op, const Tensor& out, const Tensor& x, const Dims& axes) {
  const ReductionMatrix matrix(x, out, axes);
  const auto count = double(matrix.reduced.numel);
  const auto same = [](auto state) { return state; };
  dispatch_block_type(x.dtype(), [&]<class T>() {
    switch (op) {
      case ReduceOp::kSum:
        return reduce_to<Sum<Accumulator<T>>, T>(matrix, same);
      case ReduceOp::kMean:
        return reduce_to<Sum<double>, T>(matrix, [count](double total) { return total / count; });
      case ReduceOp::kNorm:
        return reduce_to<SumOfSquares, T>(matrix, [](double total) { return std::sqrt(total); });
      case ReduceOp::kMax:
        return reduce_to<Extreme<T, 1>, T>(matrix, same);
      case ReduceOp::kMin:
        return reduce_to<Extreme<T, -1>, T>(matrix, same);
      case ReduceOp::kAny:
        return reduce_to<Truth<false>, T>(matrix, same);
      case ReduceOp::kAll:
        return reduce_to<Truth<true>, T>(matrix, same);
    }
  });
}

void reduce_indices_cpu(ReduceOp op, const Tensor& values, const Tensor& indices, const Tensor& x,
                        int64_t axis) {
  const ReductionMatrix matrix(x, values, x.dim() > 0 ? Dims{axis} : Dims{});
  dispatch_block_type(x.dtype(), [&]<class T>() {
    if (op == ReduceOp::kMax) {
      reduce_with_index<IndexedExtreme<T, 1>, T>(matrix, indices, values);
    } else {
      reduce_with_index<IndexedExtreme<T, -1>, T>(matrix, indices, values);
    }
  });
}

}  // namespace taper::ops
