// The backward stages of a cell against its forward stages, while compiling: two steps of one unit, and for every
// column, state and vector the gradient beside a central difference. Names can be right and still be exchanged, or a
// factor forgotten; such a cell does not compile either.
#pragma once

#include "derive.h"

namespace pylstm::cells {
namespace {

template <class Cell>
class OneUnit {
 public:
  // What is moved by `by`, or whose gradient is asked for: Where::d_column (an accumulator of the last step),
  // Where::previous (a state before the first step) or Where::parameter (a vector).
  constexpr explicit OneUnit(Ref moved = {}, double by = 0) : moved_(moved), by_(by) {}

  constexpr double loss() {
    run(typename Cell::forward());
    double sum = 0;
    for (int t = 0; t < steps; ++t) sum += d_output(t) * rows_[t].at(Where::state, 0);
    for (int i = 0; i < cell.states.count; ++i) sum += d_final(i) * rows_[steps - 1].at(Where::state, i);
    return sum;
  }

  constexpr double gradient(Ref ref) {
    run(typename Cell::forward());
    for (int i = 0; i < cell.states.count; ++i) carry_[i] = d_final(i);
    for (int t = steps - 1; t >= 0; --t) back(t, typename Cell::backward());
    if (ref.where == Where::previous) {
      double sum = ref.index > 0 || cell.carries[0] ? carry_[ref.index] : 0;
      for (const ForwardStage& stage : cell.forward)
        if (ref.index == 0 && stage.matrix >= 0 && stage.later()) sum += through(stage, 0);
      return sum;
    }
    if (ref.where == Where::d_column) return rows_[steps - 1].at(ref.where, ref.index);
    return rows_[0].at(Where::d_parameter, ref.index) + rows_[1].at(Where::d_parameter, ref.index);
  }

 private:
  static constexpr int steps = 2;
  static constexpr const CellSpec& cell = derivation<Cell>.cell;

  // Values that have nothing in common.
  static constexpr double some(int a, int b) { return ((a * 37 + b * 101 + 11) % 97) / 97. - 0.45; }
  static constexpr double d_output(int t) { return some(1, t); }
  static constexpr double d_final(int i) { return some(2, i); }
  static constexpr double weight(int parameter, int block) { return some(3 + parameter, block); }

  struct Rows {
    double values[where_count][most] = {};
    constexpr double& at(Where where, int index) { return values[int(where)][index]; }
  };
  struct Io {
    Rows& rows;
    const double* sums;
    double arrived;

    template <Where WHERE, Name NAME>
    constexpr Number operator[](Key<WHERE, NAME>) const {
      return rows.at(WHERE, ref_of(cell, {WHERE, NAME}).index);
    }
    template <Name NAME>
    constexpr Number operator[](SumKey<NAME>) const {
      return sums[place(cell.columns, NAME)];
    }
    constexpr Number operator[](ProductKey) const { return arrived; }
    template <Where WHERE, Name NAME>
    constexpr void put(Key<WHERE, NAME>, Number value) {
      rows.at(WHERE, ref_of(cell, {WHERE, NAME}).index) = value.value;
    }
  };

  template <class... S>
  constexpr void run(Stages<S...>) {
    for (int t = 0; t < steps; ++t) {
      for (int i = 0; i < cell.states.count; ++i)
        rows_[t].at(Where::previous, i) =
            t ? rows_[t - 1].at(Where::state, i) : some(20, i) + (moved_ == Ref{Where::previous, i} ? by_ : 0);
      for (int p = 0; p < cell.parameters.count; ++p)
        rows_[t].at(Where::parameter, p) = weight(p, 0) + (moved_ == Ref{Where::parameter, p} ? by_ : 0);
      int f = 0;
      (step<S>(t, cell.forward[f++]), ...);
    }
  }
  template <class Stage>
  constexpr void step(int t, const ForwardStage& stage) {
    double sums[most] = {};
    for (int c = stage.column; c < stage.column + stage.columns; ++c) {
      const Column& column = cell.columns[c];
      sums[c] = some(21, c) + (t == steps - 1 && moved_ == Ref{Where::d_column, c} ? by_ : 0);
      if (column.x >= 0) sums[c] += some(22, t) * weight(stage.x_matrix, column.x);
      if (column.operand >= 0)
        sums[c] += rows_[t].at(stage.operand.where, stage.operand.index) * weight(stage.matrix, column.operand);
    }
    Io io{rows_[t], sums, 0};
    Stage::apply(io);
  }

  constexpr double through(const ForwardStage& stage, int t) {
    double sum = 0;
    for (int c = stage.column; c < stage.column + stage.columns; ++c)
      if (const int block = cell.columns[c].operand; block >= 0)
        sum += rows_[t].at(Where::d_column, c) * weight(stage.matrix, block);
    return sum;
  }
  template <class... S>
  constexpr void back(int t, Stages<S...>) {
    rows_[t].at(Where::d_output, 0) = d_output(t);
    for (int i = 0; i < cell.states.count; ++i)
      rows_[t].at(Where::d_state, i) = i > 0 || t == steps - 1 || cell.carries[0] ? carry_[i] : 0;
    int b = 0;
    (step_back<S>(t, cell.backward[b++]), ...);
    for (int i = 0; i < cell.states.count; ++i) carry_[i] = rows_[t].at(Where::d_previous, i);
  }
  template <class Stage>
  constexpr void step_back(int t, const BackwardStage& stage) {
    double arrived = 0;
    if (stage.through >= 0) {
      const ForwardStage& forward = cell.forward[stage.through];
      const int from = forward.later() ? t + 1 : t;
      if (from < steps) arrived = through(forward, from);
    }
    Io io{rows_[t], nullptr, arrived};
    Stage::apply(io);
  }

  Ref moved_;
  double by_;
  Rows rows_[steps];
  double carry_[most] = {};
};

template <class Cell>
constexpr bool slope_agrees(Ref ref) {
  constexpr double eps = 1e-4;
  const double expected = (OneUnit<Cell>(ref, eps).loss() - OneUnit<Cell>(ref, -eps).loss()) / (2 * eps);
  const double off = OneUnit<Cell>().gradient(ref) - expected;
  return off < 1e-6 && off > -1e-6;
}

// What has a wrong gradient; empty: nothing.
template <class Cell>
constexpr Name wrong_slope() {
  constexpr const CellSpec& cell = derivation<Cell>.cell;
  for (int c = 0; c < cell.columns.count; ++c)
    if (!slope_agrees<Cell>({Where::d_column, c})) return cell.columns[c].name;
  for (int i = 0; i < cell.states.count; ++i)
    if (!slope_agrees<Cell>({Where::previous, i})) return cell.states[i].name;
  for (int p = 0; p < cell.parameters.count; ++p)
    if (cell.parameters[p].kind == ParamKind::vector && !slope_agrees<Cell>({Where::parameter, p}))
      return cell.parameters[p].name;
  return {};
}

template <class Cell, Name WHAT>
struct Slope {
  static_assert(WHAT.empty(), "the backward stages do not give the derivative of the forward stages");
  static constexpr bool right = WHAT.empty();
};
template <class Cell>
constexpr bool slopes_are_right() {
  return Slope<Cell, wrong_slope<Cell>()>::right;
}

}  // namespace
}  // namespace pylstm::cells
