// One step of the recurrence backwards: the stages of the cell, over the rows that their refs name.
#pragma once

#include "backward_layer.h"

namespace pylstm {

template <class T>
class BackwardStep {
 public:
  explicit BackwardStep(const BackwardLayer<T>& layer) {
    const auto count = size_t(layer.rows.count());
    for (auto* rows : {&h_, &record_, &d_output_, &d_h_, &d_columns_[0], &d_columns_[1]}) rows->resize(count);
    for (int i = 0; i < layer.cell.states.count; ++i) previous_[i].resize(count), carry_[i].resize(count);
  }

  // Before the first step of a layer and direction: all that is the same in every other step.
  void enter(BackwardLayer<T>& at) {
    for (int state = 0; state < at.cell.states.count; ++state)
      for (ptrdiff_t i = 0; i < at.rows.count(); ++i)
        carry_[state][size_t(i)] = at.carry_row(state, at.rows.position(i));
    for (int odd = 0; odd < 2; ++odd) {
      const RowTable<T> table = rows_of(at, odd);
      for (int index = 0; index < at.cell.backward.count; ++index) {
        args_[odd][index] = product(at, index, odd);
        table.set(args_[odd][index], at.cell.backward[index]);
      }
    }
  }

  // False: interrupted. Workers that share units learn it together; others at once, and meet behind the chunk.
  bool run(const BackwardLayer<T>& at, ptrdiff_t s) {
    point_rows(at, s);
    if (s > 0) prefetch(at, s - 1);
    const ptrdiff_t active = at.rows.active(s), later = at.rows.active(s + 1);
    const bool shares_units = at.shared.split.units > 1;
    for (int index = 0; index < at.cell.backward.count; ++index) {
      const BackwardStage& stage = at.cell.backward[index];
      StageArgs<T>& a = args_[s & 1][index];
      const auto run_stage = at.network.kernels().stage[stage.id][0];
      a.rows = from_later(at, stage) ? later : active;
      if (stage.whole_rows) at.set_rows(a, active);
      if (a.rows) run_stage(a);
      if (a.rows < active) {  // sequences that end at this step have no step after
        StageArgs<T> last = a;
        for (auto& in : last.in) in.rows += in.rows ? a.rows : 0;
        for (auto& out : last.out) out.rows += out.rows ? a.rows : 0;
        last.first = last.second = {};
        last.rows = active - a.rows;
        run_stage(last);
      }
      if (shares_units && !at.shared.team.wait(at.id)) return false;
    }
    return shares_units || !at.shared.interrupt.stopped();
  }

  // The gradient to the initial h: through the products of the first step, and what the cell passes on beside them.
  void initial(const BackwardLayer<T>& at) {
    const ptrdiff_t active = at.rows.active(0);
    if (!active) return;
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = at.rows.position(i);
      h_[size_t(i)] = at.state_row(at.call.d_initial[0], 0, p);
      d_columns_[0][size_t(i)] = at.gate_row(0, p);
      d_h_[size_t(i)] = at.cell.carries[0] ? at.carry_row(0, p) : at.shared.zeros.data();
    }
    const T* const* so_far = d_h_.data();
    for (int index = 0; index < at.cell.backward.count; ++index) {
      if (!from_later(at, at.cell.backward[index])) continue;
      StageArgs<T> a = product(at, index, 1);  // what is later for an odd step: the columns of step 0
      a.descending = false;
      a.rows = active;
      a.in[0] = {so_far, 0};
      a.out[0] = {h_.data(), 0};
      at.network.kernels().stage[int(StageId::add)][0](a);
      so_far = h_.data();
    }
    if (so_far != d_h_.data() || at.unit != 0) return;
    for (size_t i = 0; i < size_t(active); ++i)
      std::copy_n(d_h_[i], at.network.state(0), h_[i]);  // there is no product
  }

 private:
  // Whether the product of a stage is over the gradients of the step after.
  static bool from_later(const BackwardLayer<T>& at, const BackwardStage& stage) {
    return stage.through >= 0 && at.cell.forward[stage.through].later();
  }

  StageArgs<T> product(const BackwardLayer<T>& at, int index, int odd) const {
    const BackwardStage& stage = at.cell.backward[index];
    static constexpr List<Run> none;
    return at.product(at.transposed->stage[index], stage.through < 0 ? none : at.cell.forward[stage.through].runs,
                      d_columns_[from_later(at, stage) ? 1 - odd : odd].data(), odd);
  }

  RowTable<T> rows_of(BackwardLayer<T>& at, int odd) {
    RowTable<T> table;
    at.point_vectors(table);
    for (int i = 0; i < at.cell.records.count; ++i) table.at(Where::record, i) = {record_.data(), at.network.record(i)};
    for (int i = 0; i < at.cell.masks.count; ++i) table.at(Where::mask, i) = {record_.data(), at.network.mask(i)};
    for (int i = 0; i < at.cell.states.count; ++i) {
      table.at(Where::state, i) = i ? Slot<T>{record_.data(), at.network.state_record(i)} : Slot<T>{h_.data(), 0};
      table.at(Where::previous, i) = {previous_[i].data(), 0};
      table.at(Where::d_state, i) = {i ? carry_[i].data() : d_h_.data(), 0};
      table.at(Where::d_previous, i) = {carry_[i].data(), 0};
    }
    table.at(Where::d_output) = {d_output_.data(), 0};
    T* const* const d_columns = d_columns_[odd].data();
    for (int i = 0; i < at.cell.columns.count; ++i) table.at(Where::d_column, i) = {d_columns, at.network.column(i)};
    for (int i = 0; i < at.cell.records.count; ++i) table.at(Where::d_record, i) = {d_columns, at.network.d_record(i)};
    for (int i = 0; i < at.cell.parameters.count; ++i)
      table.at(Where::d_parameter, i) = {d_columns, at.network.vector(i)};
    return table;
  }

  void point_rows(const BackwardLayer<T>& at, ptrdiff_t s) {
    const ptrdiff_t active = at.rows.active(s), later = at.rows.active(s + 1);
    T* const zeros = at.shared.zeros.data();
    std::vector<T*>& d_columns = d_columns_[s & 1];
    const int states = at.cell.states.count;
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = at.rows.position(i), n = at.order.sequence(p), t = at.time(p, s);
      const size_t row = size_t(i);
      h_[row] = const_cast<T*>(at.output.row(t, n));
      record_[row] = at.record_row(s, p);
      d_columns[row] = at.gate_row(s, p);
      d_output_[row] = at.d_output.data ? const_cast<T*>(at.d_output.row(t, n)) : zeros;
      for (int state = 0; state < states; ++state) previous_[state][row] = const_cast<T*>(at.previous_row(state, s, p));
      // At a sequence's last step the gradient to its final h; before that, what the cell itself passes on, if it does.
      d_h_[row] = i >= later || at.cell.carries[0] ? carry_[0][row] : zeros;
    }
  }

  // The records of step s, and the gradients to its output. Inlined by force: GCC takes a function that does nothing
  // but prefetch for one without effect, and leaves its calls out.
  [[gnu::always_inline]] inline void prefetch(const BackwardLayer<T>& at, ptrdiff_t s) const {
    constexpr ptrdiff_t line = 64 / ptrdiff_t(sizeof(T));
    for (ptrdiff_t i = 0; i < at.rows.active(s); ++i) {
      const ptrdiff_t p = at.rows.position(i);
      const T* const record = at.record_row(s, p);
      for (ptrdiff_t j = 0; j < at.network.record_width(); j += line) __builtin_prefetch(record + j, 0, 2);
      if (!at.d_output.data) continue;
      const T* const d_output = at.d_output.row(at.time(p, s), at.order.sequence(p));
      for (ptrdiff_t j = 0; j < at.sizes.output; j += line) __builtin_prefetch(d_output + j, 0, 2);
    }
  }

  // One pointer for each of the group's sequences that still run; d_columns_ of even and of odd steps.
  std::vector<T*> h_, record_, d_output_, d_h_, d_columns_[2];
  std::vector<T*> previous_[max_states], carry_[max_states];
  StageArgs<T> args_[2][max_stages];  // of the stages of even and of odd steps
};

}  // namespace pylstm
