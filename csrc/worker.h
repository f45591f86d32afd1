// What the workers of the forward and the backward pass have in common: their share of a call, where the arrays of a
// layer lie, and where a sequence is at a step.
#pragma once

#include <vector>

#include "sequence.h"

namespace pylstm {

// Where the rows are that a stage's refs name.
template <class T>
class RowTable {
 public:
  Slot<T>& at(Where where, int index = 0) { return slots_[int(where)][index]; }
  const Slot<T>& operator[](Ref ref) const { return slots_[int(ref.where)][ref.index]; }

  void set(StageArgs<T>& a, const StageSpec& stage) const {
    for (int i = 0; i < stage.in.count; ++i) {
      const Slot<T>& slot = (*this)[stage.in[i]];
      a.in[i] = {const_cast<const T* const*>(slot.rows), slot.offset};
    }
    for (int i = 0; i < stage.out.count; ++i) a.out[i] = (*this)[stage.out[i]];
  }

 private:
  Slot<T> slots_[where_count][max_rows];
};

template <class T>
class LayerWorker {
 public:
  using Rows = std::vector<T*>;

  LayerWorker(const Network<T>& network_, const Order& order_, int unit_, int units_, int group, int groups)
      : network(network_),
        cell(network_.cell()),
        sizes(network_.sizes()),
        order(order_),
        unit(unit_),
        units(units_),
        rows(order_, group, groups) {
    for (const ParamSpec& p : cell.parameters)
      if (p.kind == ParamKind::vector) vectors_.emplace_back(size_t(rows.count()));
    for (int i = 0; i < cell.constants.count; ++i)
      constants_.emplace_back(size_t(rows.count()), const_cast<T*>(network.constant(i)));
  }

  static View<const T> as_const(const View<T>& v) { return {v.data, v.time, v.sequence}; }
  static Slot<const T> as_const(const Slot<T>& slot) { return {const_cast<const T* const*>(slot.rows), slot.offset}; }

  // Arrays of inner layers are (T, N, width) in C order; where there are fewer than layers, they are used in turn.
  View<T> inner(const std::vector<AlignedBuffer<T>>& buffers, int layer) const {
    const ptrdiff_t width = sizes.width();
    return {buffers[size_t(layer) % buffers.size()].data(), order.batch() * width, width};
  }
  // What a layer behind the first reads.
  View<const T> input_of(const Saved<T>& saved, int layer) const {
    return as_const(inner(saved.dropped.empty() ? saved.outputs : saved.dropped, layer - 1));
  }

  void enter(int layer, int direction) {
    reverse = direction == 1;
    index = layer * sizes.directions + direction;
    weights = &network.layer(layer, direction);
    size_t vector = 0;
    for (int i = 0; i < cell.parameters.count; ++i)
      if (cell.parameters[i].kind == ParamKind::vector)
        for (T*& row : vectors_[vector++]) row = const_cast<T*>(weights->params.data[i]);
  }
  // The parameters that are vectors, and the constants: the same row for every sequence.
  void point_vectors(RowTable<T>& table) {
    size_t vector = 0;
    for (int i = 0; i < cell.parameters.count; ++i)
      if (cell.parameters[i].kind == ParamKind::vector) table.at(Where::parameter, i) = {vectors_[vector++].data(), 0};
    for (int i = 0; i < cell.constants.count; ++i) table.at(Where::constant, i) = {constants_[size_t(i)].data(), 0};
  }

  // Time of step s of a sequence: the reverse direction starts at the sequence's own end.
  ptrdiff_t time(ptrdiff_t position, ptrdiff_t step) const {
    return reverse ? order.length(position) - 1 - step : step;
  }

  // The row of a sequence in an array of states, (layers x directions, N, size).
  T* state_row(T* states, int state, ptrdiff_t position) const {
    return states + (index * order.batch() + order.sequence(position)) * network.state(state);
  }
  // The same to read; `none` where there is no array.
  const T* state_row(const T* states, int state, ptrdiff_t position, const T* none) const {
    return states ? state_row(const_cast<T*>(states), state, position) : none;
  }

  // The worker's blocks of a stage's units. Every other step goes through them backwards: of weights larger than a
  // cache, the part used last is still there.
  void set_blocks(StageArgs<T>& a, const Blocks& blocks, ptrdiff_t step) const {
    const Share share(blocks.count(), unit, units);
    a.product = &network.product();
    a.units = blocks.units;
    a.block_begin = share.begin, a.block_end = share.end;
    a.descending = step & 1;
  }

  // The same of a stage of whole rows: those who share the units share its rows.
  void set_rows(StageArgs<T>& a, ptrdiff_t count) const {
    const Share share(count, unit, units);
    a.block_begin = share.begin, a.block_end = share.end;
  }

  const Network<T>& network;
  const CellSpec& cell;
  const Sizes& sizes;
  const Order& order;
  const int unit, units;
  const RowSet rows;

  // Of the layer and direction under way.
  bool reverse = false;
  int index = 0;
  const LayerWeights<T>* weights = nullptr;

 private:
  std::vector<Rows> vectors_;  // of every parameter that is one
  std::vector<Rows> constants_;
};

}  // namespace pylstm
