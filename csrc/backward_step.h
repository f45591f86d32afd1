// One step of the recurrence backwards: the stages of the cell, over the rows that their refs name.
#pragma once

#include <utility>

#include "backward_layer.h"

namespace pylstm {

template <class T>
class BackwardStep {
 public:
  explicit BackwardStep(const BackwardLayer<T>& layer) {
    for (auto* rows : {&h_, &prev_h_, &record_, &state_, &prev_state_, &d_output_, &d_state_, &carry_h_, &carry_,
                       &d_gate_, &d_gate_next_})
      rows->resize(size_t(layer.rows.count()));
  }

  // False: interrupted. Workers that share units learn it together; others at once, and meet behind the chunk.
  bool run(const BackwardLayer<T>& at, ptrdiff_t s) {
    point_rows(at, s);
    if (s > 0) prefetch(at, s - 1);
    const ptrdiff_t active = at.rows.active(s), later = at.rows.active(s + 1);
    const bool shares_units = at.shared.split.units > 1;
    for (int index = 0; index < at.cell.backward_stages; ++index) {
      const BackwardStage& stage = at.cell.backward[index];
      const bool next = stage.operand == Where::d_gate_next;
      StageArgs<T> a =
          at.product(at.transposed->stage[index], stage.segments, next ? d_gate_next_.data() : d_gate_.data(), s);
      for (int i = 0; i < max_refs && stage.in[i].where != Where::none; ++i)
        a.in[i] = at.as_const(slot(at, stage.in[i]));
      for (int i = 0; i < max_refs && stage.out[i].where != Where::none; ++i) a.out[i] = slot(at, stage.out[i]);
      const auto run_stage = at.network.kernels().stage[int(stage.id)][0];
      a.rows = next ? later : active;
      if (a.rows) run_stage(a);
      if (a.rows < active) {  // sequences that end at this step have no step after
        const ptrdiff_t done = a.rows;
        for (auto& in : a.in) in.rows += in.rows ? done : 0;
        for (auto& out : a.out) out.rows += out.rows ? done : 0;
        a.first = a.second = {};
        a.rows = active - done;
        run_stage(a);
      }
      if (shares_units && !at.shared.team.wait(at.id)) return false;
    }
    return shares_units || !at.shared.interrupt.stopped();
  }

  // Through the product of the first step, to the initial h.
  void initial(const BackwardLayer<T>& at) {
    const ptrdiff_t active = at.rows.active(0);
    if (!active) return;
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = at.rows.position(i);
      h_[size_t(i)] = at.state_row(at.call.d_initial[0], 0, p);
      d_gate_[size_t(i)] = at.gate_row(0, p);
      d_state_[size_t(i)] = at.cell.carries_h ? at.carry_row(0, p) : at.shared.zeros.data();
    }
    StageArgs<T> a = at.product(at.transposed->stage[0], at.cell.backward[0].segments, d_gate_.data(), 0);
    a.rows = active;
    a.in[0] = at.as_const(Slot<T>{d_state_.data(), 0});
    a.out[0] = {h_.data(), 0};
    at.network.kernels().stage[int(StageId::add)][0](a);
  }

 private:
  void point_rows(const BackwardLayer<T>& at, ptrdiff_t s) {
    const ptrdiff_t active = at.rows.active(s), later = at.rows.active(s + 1);
    std::swap(d_gate_, d_gate_next_);
    T* const zeros = at.shared.zeros.data();
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = at.rows.position(i), n = at.order.sequence(p), t = at.time(p, s);
      const size_t row = size_t(i);
      h_[row] = const_cast<T*>(at.output.row(t, n));
      prev_h_[row] = const_cast<T*>(at.prev_h_row(s, p));
      record_[row] = at.record_row(s, p);
      d_gate_[row] = at.gate_row(s, p);
      d_output_[row] = at.d_output.data ? const_cast<T*>(at.d_output.row(t, n)) : zeros;
      carry_h_[row] = at.carry_row(0, p);
      // At a sequence's last step the gradient to its final h; before that, what the cell itself passes on, if it does.
      d_state_[row] = i >= later || at.cell.carries_h ? carry_h_[row] : zeros;
      if (at.cell.states > 1) {
        const ptrdiff_t column = at.cell.state_record[1] * at.sizes.hidden;
        state_[row] = record_[row] + column;
        prev_state_[row] = s ? at.record_row(s - 1, p) + column : const_cast<T*>(at.initial_row(1, p));
        carry_[row] = at.carry_row(1, p);
      }
    }
  }

  Slot<T> slot(const BackwardLayer<T>& at, Ref ref) {
    const ptrdiff_t column = ref.index * at.sizes.hidden;
    switch (ref.where) {
      case Where::h:
        return {h_.data(), 0};
      case Where::prev_h:
        return {prev_h_.data(), 0};
      case Where::state:
        return {state_.data(), 0};
      case Where::prev_state:
        return {prev_state_.data(), 0};
      case Where::d_output:
        return {d_output_.data(), 0};
      case Where::d_state:
        return {d_state_.data(), 0};
      case Where::carry:
        return {ref.index == 0 ? carry_h_.data() : carry_.data(), 0};
      case Where::d_gate:
        return {d_gate_.data(), column};
      default:
        return {record_.data(), column};
    }
  }

  void prefetch(const BackwardLayer<T>& at, ptrdiff_t s) const {
    const ptrdiff_t width = at.network.record_width() * ptrdiff_t(sizeof(T));
    for (ptrdiff_t i = 0; i < at.rows.active(s); ++i) {
      const char* row = reinterpret_cast<const char*>(at.record_row(s, at.rows.position(i)));
      for (ptrdiff_t b = 0; b < width; b += 64) __builtin_prefetch(row + b, 0, 2);
    }
  }

  // One pointer for each of the group's sequences that still run.
  std::vector<T*> h_, prev_h_, record_, state_, prev_state_, d_output_, d_state_, carry_h_, carry_, d_gate_,
      d_gate_next_;
};

}  // namespace pylstm
