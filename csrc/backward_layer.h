// What the parts of the backward pass have in common: what all its workers share, and where a worker finds the rows of
// the layer and direction under way.
#pragma once

#include <algorithm>
#include <vector>

#include "gate_rows.h"
#include "kept_plans.h"
#include "parallel.h"
#include "worker.h"

namespace pylstm {

// Numbers in the matrices of a layer and direction; the largest of them all.
template <class T>
ptrdiff_t weights_of(const Network<T>& network) {
  ptrdiff_t most = 0;
  for (int layer = 0; layer < network.sizes().layers; ++layer) {
    ptrdiff_t count = 0;
    for (const ParamSpec& p : network.cell().parameters)
      if (p.kind == ParamKind::matrix)
        count += checked_product({network.rows(p), network.columns(p, network.sizes().layer_input(layer))});
    most = std::max(most, count);
  }
  return most;
}

// Made on the caller's thread before the workers start. `d_gates` holds the gradients to the accumulators of two chunks
// of steps: while one is filled, the other still gives the step after, and the weight gradients of it.
template <class T>
struct BackwardShared {
  BackwardShared(const BackwardCall<T>& call_, const Plan& plan)
      : call(call_),
        split(plan.split),
        weights(weights_of(call.network)),
        chunk_steps(gradient_steps(call.order.steps() ? ceil_div(call.order.total(), call.order.steps()) : 1)),
        gate_rows(call.order, chunk_steps, call.symbols.symbols ? 1 : gradient_slices(call.order, weights)),
        whole_slices(split.units == 1 && gate_rows.slices() % split.rows == 0),
        interrupt(call.interrupted, plan.cycles, plan.steps, split.threads()) {
    const auto& network = call.network;
    const Sizes& sizes = network.sizes();
    const ptrdiff_t batch = call.order.batch();
    // A row pitch of a multiple of a page would map a column of the buffer to one set of the L1 cache.
    constexpr ptrdiff_t line = 64 / ptrdiff_t(sizeof(T)), page = 4096 / ptrdiff_t(sizeof(T));
    gate_row = ceil_div(network.gate_width(), line) * line;
    if (gate_row % page == 0) gate_row += line;
    d_gates = AlignedBuffer<T>(checked_product({2, gate_rows.count(), gate_row}));
    if (const Symbols* symbols = call.symbols.symbols)
      symbol_sums = AlignedBuffer<T>(checked_product({symbols->distinct(), gate_row}));
    for (int state = 0; state < network.cell().states.count; ++state)
      carry[state] = AlignedBuffer<T>(checked_product({batch, network.state(state)}));
    for (int i = 0; i < std::min(sizes.layers - 1, 2); ++i)
      d_inner.emplace_back(checked_product({call.steps, batch, sizes.width()}));
    zeros.assign(size_t(std::max({sizes.hidden, sizes.width(), sizes.input}) + block_columns * network.kernels().lanes),
                 T(0));
    sums.assign(size_t(gate_rows.slices() * network.sums_width()), T(0));
    slices = AlignedBuffer<T>(call.need_params ? checked_product({gate_rows.slices() - 1, weights}) : 0);
  }

  const BackwardCall<T>& call;
  const Split split;
  const ptrdiff_t weights, chunk_steps;
  const GateRows gate_rows;
  const bool whole_slices;  // every worker has slices of its own; else each has a share of the gradients of all slices
  ptrdiff_t gate_row = 0;
  AlignedBuffer<T> d_gates;
  AlignedBuffer<T> carry[max_states];     // [position][size]
  std::vector<AlignedBuffer<T>> d_inner;  // gradients to the outputs of inner layers, (T, N, width), two in turn
  AlignedBuffer<T> symbol_sums;           // where x is symbols: [distinct row of the table][gate_row]
  T* symbol_row(ptrdiff_t place) const { return symbol_sums.data() + place * gate_row; }
  std::vector<T> zeros;
  std::vector<T> sums;      // of the columns of d_gates, [slice]
  AlignedBuffer<T> slices;  // gradients to the matrices, [slice but the first][weights]
  Interrupt interrupt;
  Barrier team{split.threads(), interrupt};
};

// One worker's view of the layer and direction under way: a group of sequences and a share of the units in the
// recurrence, a share of the rows of every weight gradient.
template <class T>
class BackwardLayer : public LayerWorker<T> {
 public:
  using Base = LayerWorker<T>;
  using Base::as_const, Base::inner, Base::input_of, Base::time, Base::state_row;
  using Base::network, Base::cell, Base::sizes, Base::order, Base::unit, Base::rows, Base::reverse, Base::index,
      Base::weights;

  BackwardLayer(BackwardShared<T>& shared_, int id_)
      : LayerWorker<T>(shared_.call.network, shared_.call.order, id_ % shared_.split.units, shared_.split.units,
                       id_ / shared_.split.units, shared_.split.rows),
        shared(shared_),
        call(shared_.call),
        id(id_) {}

  void enter(int layer, int direction) {
    Base::enter(layer, direction);
    transposed = &network.transposed(layer, direction);
    x = layer == 0 ? call.x : input_of(call.saved, layer);
    output = layer + 1 == sizes.layers ? call.output : as_const(inner(call.saved.outputs, layer));
    output.data += direction * sizes.output;
    d_output = layer + 1 == sizes.layers ? call.d_output : as_const(inner(shared.d_inner, layer));
    if (d_output.data) d_output.data += direction * sizes.output;
    by_symbol = layer == 0 && call.symbols.symbols;
    d_x = layer == 0 ? call.d_x : inner(shared.d_inner, layer - 1);
    d_params = call.d_params[size_t(index)];
    records_ = call.saved.records[size_t(index)].data();
  }

  Share my_share(ptrdiff_t n) const { return {n, id, shared.split.threads()}; }
  // each(slice) for those to whose weight gradients the worker adds: of whole slices, those of its own sequences, which
  // are every n-th one where these are (see RowSet).
  template <class F>
  void for_slices(const F& each) const {
    const int slices = shared.gate_rows.slices(), groups = shared.whole_slices ? shared.split.rows : 1;
    const int first = groups > 1 ? id : 0, count = slices / groups;
    for (int i = 0; i < count; ++i) each(order.ragged() ? first + i * groups : first * count + i);
  }
  // The worker's share of n rows of the gradients of those slices.
  Share slice_share(ptrdiff_t n) const { return shared.whole_slices ? Share(n, 0, 1) : my_share(n); }

  T* carry_row(int state, ptrdiff_t position) const {
    return shared.carry[state].data() + position * network.state(state);
  }
  T* record_row(ptrdiff_t step, ptrdiff_t position) const {
    return records_ + (order.start(step) + position) * network.record_width();
  }
  // The gradients to the accumulators of a step.
  T* gate_row(ptrdiff_t step, ptrdiff_t position) const {
    return shared.d_gates.data() + shared.gate_rows.row(step, position) * shared.gate_row;
  }
  // Those of a slice, one row behind the other, from the beginning of a chunk on.
  const T* slice_rows(int slice, ptrdiff_t chunk_begin) const {
    return shared.d_gates.data() + shared.gate_rows.begin(slice, chunk_begin) * shared.gate_row;
  }
  const T* initial_row(int state, ptrdiff_t position) const {
    return state_row(call.initial[state], state, position, shared.zeros.data());
  }
  // The row of a state before a step.
  const T* previous_row(int state, ptrdiff_t step, ptrdiff_t position) const {
    if (step == 0) return initial_row(state, position);
    return state ? record_row(step - 1, position) + network.state_record(state)
                 : output.row(time(position, step - 1), order.sequence(position));
  }

  // The worker's share of d_gates . transposed weights, from the columns of d_gates that `runs` names.
  StageArgs<T> product(const LayerTransposed::Matrix& packed, const List<Run>& runs, const T* const* d_gates,
                       ptrdiff_t step) const {
    StageArgs<T> a;
    Base::set_blocks(a, packed.blocks, step);
    a.init = shared.zeros.data();
    const auto operand = [&](int i) -> Operand<T> {
      if (i >= runs.count) return {};
      return {d_gates, network.column(runs[i].column), 1, network.run_width(runs[i])};
    };
    a.first = operand(0), a.first_panels = packed.run[0].panels;
    a.second = operand(1), a.second_panels = packed.run[1].panels;
    return a;
  }

  BackwardShared<T>& shared;
  const BackwardCall<T>& call;
  const int id;

  int group() const { return id / shared.split.units; }

  // Of the layer and direction under way. d_output.data null: zeros; d_x.data null: not wanted, or by_symbol: x is rows
  // of a table, with a gradient of its own (symbol_gradients.h).
  bool by_symbol = false;
  View<const T> x, output, d_output;
  View<T> d_x;
  Params<T> d_params;
  const LayerTransposed* transposed = nullptr;

 private:
  T* records_ = nullptr;
};

}  // namespace pylstm
