// The backward stages of a cell against its forward stages, while compiling: two steps of one unit, or of a few where
// the cell has stages of whole rows, and for every column, state and vector the gradient beside a central difference.
// Names can be right and still be exchanged, or a factor forgotten; such a cell does not compile either.
#pragma once

#include <utility>

#include "derive.h"

namespace pylstm::cells {
namespace {

template <class Cell>
class Trial {
 public:
  // What is moved by `by` along `way`: Where::d_column (an accumulator of the last step), Where::previous (a state
  // before the first step) or Where::parameter (a vector).
  constexpr explicit Trial(Ref moved = {}, double by = 0) : moved_(moved), by_(by) {}

  constexpr double loss() {
    run(typename Cell::forward());
    double sum = 0;
    for (int u = 0; u < units; ++u) {
      for (int t = 0; t < steps; ++t) sum += d_output(t, u) * rows_[t].at(Where::state, 0)[u];
      for (int i = 0; i < cell.states.count; ++i) sum += d_final(i, u) * rows_[steps - 1].at(Where::state, i)[u];
    }
    return sum;
  }

  constexpr void run_back() {
    run(typename Cell::forward());
    for (int i = 0; i < cell.states.count; ++i)
      for (int u = 0; u < units; ++u) carry_[i][u] = d_final(i, u);
    for (int t = steps - 1; t >= 0; --t) back(t, typename Cell::backward());
  }
  // After run_back: the gradient along `way`.
  constexpr double gradient(Ref ref) const {
    double sum = 0;
    for (int u = 0; u < units; ++u) sum += way(u) * gradient_of_unit(ref, u);
    return sum;
  }

 private:
  static constexpr int steps = 2;
  static constexpr const CellSpec& cell = derivation<Cell>.cell;

  template <class Stage>
  static constexpr bool has_rows(const List<Stage>& stages) {
    for (const Stage& stage : stages)
      if (stage.whole_rows) return true;
    return false;
  }
  static constexpr int units = has_rows(cell.forward) || has_rows(cell.backward) ? 4 : 1;

  // Values that have nothing in common.
  static constexpr double some(int a, int b, int u = 0, int k = 0) {
    return ((a * 37 + b * 101 + u * 53 + k * 29 + 11) % 97) / 97. - 0.45;
  }
  static constexpr double d_output(int t, int u) { return some(1, t, u); }
  static constexpr double d_final(int i, int u) { return some(2, i, u); }
  static constexpr double weight(int parameter, int block, int u, int k) { return some(3 + parameter, block, u, k); }
  static constexpr double way(int u) { return u ? some(50, u) : 1; }

  struct Rows {
    double values[where_count][most][units] = {};
    constexpr double* at(Where where, int index) { return values[int(where)][index]; }
    constexpr const double* at(Where where, int index) const { return values[int(where)][index]; }
  };

  // Found once, not whenever the arithmetic is run: compilers bound the work that goes into a constant.
  template <Where WHERE, Name NAME>
  static constexpr int index_of = ref_of(cell, {WHERE, NAME}).index;
  template <Name NAME>
  static constexpr int place_of_sum = place(cell.columns, NAME);

  struct Io {
    Rows& rows;
    const double (*sums)[units];
    const double* arrived;
    int unit;

    template <Where WHERE, Name NAME>
    constexpr Number operator[](Key<WHERE, NAME>) const {
      return rows.at(WHERE, index_of<WHERE, NAME>)[unit];
    }
    template <Name NAME>
    constexpr Number operator[](SumKey<NAME>) const {
      return sums[place_of_sum<NAME>][unit];
    }
    constexpr Number operator[](ProductKey) const { return arrived[unit]; }
    template <Where WHERE, Name NAME>
    constexpr void put(Key<WHERE, NAME>, Number value) {
      rows.at(WHERE, index_of<WHERE, NAME>)[unit] = value.value;
    }
  };
  struct RowIo : Io {  // a row of one is the first unit's
    template <class F>
    constexpr void each(const F& of_unit) {
      for (int u = 0; u < units; ++u) {
        Io io{this->rows, nullptr, nullptr, u};
        of_unit(io);
      }
    }
    template <class F>
    constexpr Number sum(const F& of_unit) {
      Number all = 0;
      each([&](Io& io) { all = all + of_unit(io); });
      return all;
    }
    template <class F>
    constexpr Number mean(const F& of_unit) {
      return sum(of_unit) / units;
    }
    template <class F>
    constexpr Number max(const F& of_unit) {
      Number most_of_all = -1e300;
      each([&](Io& io) {
        const Number value = of_unit(io);
        most_of_all = value > most_of_all ? value : most_of_all;
      });
      return most_of_all;
    }
  };

  template <class Stage>
  constexpr void apply(Rows& rows, const double (*sums)[units], const double* arrived) {
    if constexpr (takes_rows<Stage>) {
      RowIo row{{rows, nullptr, nullptr, 0}};
      Stage::apply_row(row);
    } else {
      for (int u = 0; u < units; ++u) {
        Io io{rows, sums, arrived, u};
        Stage::apply(io);
      }
    }
  }

  constexpr double moved(Ref ref, int u) const { return moved_ == ref ? by_ * way(u) : 0; }

  template <class... S>
  constexpr void run(Stages<S...>) {
    for (int t = 0; t < steps; ++t) {
      for (int u = 0; u < units; ++u) {
        for (int i = 0; i < cell.states.count; ++i)
          rows_[t].at(Where::previous, i)[u] =
              t ? rows_[t - 1].at(Where::state, i)[u] : some(20, i, u) + moved({Where::previous, i}, u);
        for (int p = 0; p < cell.parameters.count; ++p)
          rows_[t].at(Where::parameter, p)[u] = weight(p, 0, u, 0) + moved({Where::parameter, p}, u);
        for (int i = 0; i < cell.constants.count; ++i) rows_[t].at(Where::constant, i)[u] = cell.constants[i].example;
        for (int i = 0; i < cell.masks.count; ++i) rows_[t].at(Where::mask, i)[u] = 0.5 + some(60 + i, t, u);
      }
      int f = 0;
      (step<S>(t, cell.forward[f++]), ...);
    }
  }
  template <class Stage>
  constexpr void step(int t, const ForwardStage& stage) {
    double sums[most][units] = {};
    for (int c = stage.column; c < stage.column + stage.columns; ++c)
      for (int u = 0; u < units; ++u) {
        const Column& column = cell.columns[c];
        double& sum = sums[c][u] = some(21, c, u);
        if (t == steps - 1) sum += moved({Where::d_column, c}, u);
        if (column.x >= 0) sum += some(22, t) * weight(stage.x_matrix, column.x, u, 0);
        if (column.operand < 0) continue;
        const double* operand = rows_[t].at(stage.operand.where, stage.operand.index);
        for (int k = 0; k < units; ++k) sum += operand[k] * weight(stage.matrix, column.operand, u, k);
      }
    apply<Stage>(rows_[t], sums, nullptr);
  }

  // The gradient to element k of what the product of a stage multiplies.
  constexpr double through(const ForwardStage& stage, int t, int k) const {
    double sum = 0;
    for (int c = stage.column; c < stage.column + stage.columns; ++c)
      if (const int block = cell.columns[c].operand; block >= 0)
        for (int u = 0; u < units; ++u) sum += rows_[t].at(Where::d_column, c)[u] * weight(stage.matrix, block, u, k);
    return sum;
  }
  template <class... S>
  constexpr void back(int t, Stages<S...>) {
    for (int u = 0; u < units; ++u) {
      rows_[t].at(Where::d_output, 0)[u] = d_output(t, u);
      for (int i = 0; i < cell.states.count; ++i)
        rows_[t].at(Where::d_state, i)[u] = i > 0 || t == steps - 1 || cell.carries[0] ? carry_[i][u] : 0;
    }
    int b = 0;
    (step_back<S>(t, cell.backward[b++]), ...);
    for (int i = 0; i < cell.states.count; ++i)
      for (int u = 0; u < units; ++u) carry_[i][u] = rows_[t].at(Where::d_previous, i)[u];
  }
  template <class Stage>
  constexpr void step_back(int t, const BackwardStage& stage) {
    double arrived[units] = {};
    if (stage.through >= 0) {
      const ForwardStage& forward = cell.forward[stage.through];
      const int from = forward.later() ? t + 1 : t;
      for (int k = 0; k < units && from < steps; ++k) arrived[k] = through(forward, from, k);
    }
    apply<Stage>(rows_[t], nullptr, arrived);
  }

  constexpr double gradient_of_unit(Ref ref, int u) const {
    if (ref.where == Where::previous) {
      double sum = ref.index > 0 || cell.carries[0] ? carry_[ref.index][u] : 0;
      for (const ForwardStage& stage : cell.forward)
        if (ref.index == 0 && stage.matrix >= 0 && stage.later()) sum += through(stage, 0, u);
      return sum;
    }
    if (ref.where == Where::d_column) return rows_[steps - 1].at(ref.where, ref.index)[u];
    return rows_[0].at(Where::d_parameter, ref.index)[u] + rows_[1].at(Where::d_parameter, ref.index)[u];
  }

  Ref moved_;
  double by_;
  Rows rows_[steps];
  double carry_[most][units] = {};
};

template <class Cell>
constexpr Trial<Cell> ran_back() {
  Trial<Cell> trial;
  trial.run_back();
  return trial;
}
template <class Cell>
constexpr Trial<Cell> trial = ran_back<Cell>();

constexpr double slope_eps = 1e-4;

template <class Cell>
constexpr bool agrees(double above, double below, Ref ref) {
  const double off = trial<Cell>.gradient(ref) - (above - below) / (2 * slope_eps);
  return off < 1e-6 && off > -1e-6;
}
// A constant for each ref, since compilers bound the work that goes into one.
template <class Cell, Where WHERE, int INDEX, bool ABOVE>
constexpr double moved_loss = Trial<Cell>({WHERE, INDEX}, ABOVE ? slope_eps : -slope_eps).loss();
template <class Cell, Where WHERE, int INDEX>
constexpr bool slope_agrees =
    agrees<Cell>(moved_loss<Cell, WHERE, INDEX, true>, moved_loss<Cell, WHERE, INDEX, false>, {WHERE, INDEX});

// What has a wrong gradient; empty: nothing.
template <class Cell>
constexpr Name wrong_slope() {
  constexpr const CellSpec& cell = derivation<Cell>.cell;
  Name wrong;
  const auto note = [&](bool agrees, const Name& name) { wrong = agrees || !wrong.empty() ? wrong : name; };
  const auto all = [](auto count, const auto& check) {
    [&]<int... I>(std::integer_sequence<int, I...>) {
      (check(std::integral_constant<int, I>()), ...);
    }(std::make_integer_sequence<int, count.value>());
  };
  all(std::integral_constant<int, cell.columns.count>(),
      [&](auto c) { note(slope_agrees<Cell, Where::d_column, c.value>, cell.columns[c.value].name); });
  all(std::integral_constant<int, cell.states.count>(),
      [&](auto i) { note(slope_agrees<Cell, Where::previous, i.value>, cell.states[i.value].name); });
  all(std::integral_constant<int, cell.parameters.count>(), [&](auto p) {
    if constexpr (cell.parameters[p.value].kind == ParamKind::vector)
      note(slope_agrees<Cell, Where::parameter, p.value>, cell.parameters[p.value].name);
  });
  return wrong;
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
