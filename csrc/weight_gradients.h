// The gradients to a layer's parameters, added up chunk by chunk: d_gates^T . operand over the sequences of a slice.
// Each worker has slices of its own, or its rows of every matrix; in the end the slices are added up.
#pragma once

#include <algorithm>

#include "backward_layer.h"

namespace pylstm {

template <class T>
class WeightGradients {
 public:
  explicit WeightGradients(const BackwardLayer<T>& layer)
      : operand_(size_t(std::max(layer.shared.gate_rows.count(), outer_panel_rows))),
        panel_(outer_panel_rows * block_columns * layer.network.kernels().lanes) {}

  // The worker's rows start from zero, those of the first slice from what is there.
  void start(const BackwardLayer<T>& at) const {
    at.for_slices([&](int slice) {
      for (int i = 0; i < at.cell.parameters.count; ++i) {
        const ParamSpec& p = at.cell.parameters[i];
        if (p.kind != ParamKind::matrix || (slice == 0 && at.shared.call.accumulate)) continue;
        const Share rows = at.slice_share(at.network.rows(p));
        const ptrdiff_t width = at.network.columns(p, at.weights->input);
        std::fill(gradient(at, slice, i) + rows.begin * width, gradient(at, slice, i) + rows.end * width, T(0));
      }
      const Share columns = at.slice_share(at.network.sums_width());
      std::fill(sums(at, slice) + columns.begin, sums(at, slice) + columns.end, T(0));
    });
  }

  // The steps [begin, end), a chunk.
  void add(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    at.for_slices([&](int slice) { add(at, slice, begin, end); });
  }

  // Of the matrix that multiplies x, whose rows are not those of a chunk: x(i) with the gradients to the accumulators
  // at d_gates, row by row; a panel of them at most.
  template <class F>
  void add_product(const BackwardLayer<T>& at, const T* d_gates, ptrdiff_t rows, const F& x) {
    for (ptrdiff_t i = 0; i < rows; ++i) operand_[size_t(i)] = x(i);
    outer(at, 0, d_gates, rows, at.cell.x_matrix, at.cell.x_runs(), 0);
  }

  // When all workers have added up all chunks: the sum of the slices, each worker for its rows; and the sums that are
  // the gradients to biases and other vectors.
  void finish(const BackwardLayer<T>& at) const {
    const int slices = at.shared.gate_rows.slices();
    for (int i = 0; i < at.cell.parameters.count && slices > 1; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      if (p.kind != ParamKind::matrix) continue;
      const Share rows = at.my_share(at.network.rows(p));
      const ptrdiff_t width = at.network.columns(p, at.weights->input);
      add_up(slices, rows.begin * width, rows.end * width, [&](int slice) { return gradient(at, slice, i); });
    }
    if (at.id != 0) return;
    add_up(slices, 0, at.network.sums_width(), [&](int slice) { return sums(at, slice); });
    const bool add = at.shared.call.accumulate;
    const auto put = [add](const T* from, ptrdiff_t count, T* to) {
      for (ptrdiff_t j = 0; j < count; ++j) to[j] = add ? to[j] + from[j] : from[j];
    };
    for (int i = 0; i < at.cell.parameters.count; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      T* const to = at.d_params.data[i];
      if (!to) continue;
      const T* const sums = this->sums(at, 0);
      if (p.kind == ParamKind::vector) put(sums + at.network.vector(i), at.network.rows(p), to);
      if (!is_bias(p)) continue;
      const ptrdiff_t width = at.sizes.of(p.rows);
      for (const ForwardStage& stage : at.cell.forward)
        for (int c = stage.column; c < stage.column + stage.columns; ++c)
          if (const int block = at.cell.bias_block(p, stage, at.cell.columns[c]); block >= 0)
            put(sums + at.network.column(c), width, to + block * width);
    }
  }

 private:
  static bool is_bias(const ParamSpec& p) {
    return p.kind == ParamKind::bias_of_x || p.kind == ParamKind::bias_of_states;
  }

  static T* sums(const BackwardLayer<T>& at, ptrdiff_t slice) {
    return at.shared.sums.data() + slice * at.network.sums_width();
  }
  // What a slice adds to the gradient to a matrix; the first one to the gradient itself.
  static T* gradient(const BackwardLayer<T>& at, ptrdiff_t slice, int matrix) {
    if (slice == 0) return at.d_params.data[matrix];
    T* place = at.shared.slices.data() + (slice - 1) * at.shared.weights;
    for (int i = 0; i < matrix; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      if (p.kind == ParamKind::matrix) place += at.network.rows(p) * at.network.columns(p, at.weights->input);
    }
    return place;
  }

  // The first of `slices` arrays becomes their sum: of neighbours, then of neighbouring sums.
  template <class F>
  static void add_up(int slices, ptrdiff_t begin, ptrdiff_t end, const F& array) {
    for (int distance = 1; distance < slices; distance *= 2)
      for (int i = 0; i + distance < slices; i += 2 * distance) {
        T* const to = array(i);
        const T* const from = array(i + distance);
        for (ptrdiff_t j = begin; j < end; ++j) to[j] = to[j] + from[j];
      }
  }

  void add(const BackwardLayer<T>& at, int slice, ptrdiff_t begin, ptrdiff_t end) {
    const T* const d_gates = at.slice_rows(slice, begin);
    const ptrdiff_t rows = at.shared.gate_rows.rows(slice, begin, end);
    if (at.cell.x_matrix >= 0 && !at.by_symbol) {
      point_operand(at, slice, begin, end,
                    [&](ptrdiff_t s, ptrdiff_t p) { return at.x.row(at.time(p, s), at.order.sequence(p)); });
      outer(at, slice, d_gates, rows, at.cell.x_matrix, at.cell.x_runs(), 0);
    }
    for (const ForwardStage& stage : at.cell.forward) {
      if (stage.matrix < 0) continue;
      const bool record = stage.operand.where == Where::record;
      if (record)
        point_operand(at, slice, begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return at.record_row(s, p); });
      else
        point_operand(at, slice, begin, end,
                      [&](ptrdiff_t s, ptrdiff_t p) { return at.previous_row(stage.operand.index, s, p); });
      outer(at, slice, d_gates, rows, stage.matrix, stage.runs, record ? at.network.record(stage.operand.index) : 0);
    }
    // The columns [from, to), over the rows.
    const auto sum = [&](ptrdiff_t from, ptrdiff_t to) {
      if (from == to) return;
      const Share share = at.slice_share(to - from);
      at.network.kernels().sum_rows(d_gates, at.shared.gate_row, rows, from + share.begin, from + share.end,
                                    sums(at, slice));
    };
    bool biases = false, vectors = false;
    for (int i = 0; i < at.cell.parameters.count; ++i) {
      const ParamSpec& p = at.cell.parameters[i];
      biases = biases || (at.d_params.data[i] && is_bias(p));
      vectors = vectors || (at.d_params.data[i] && p.kind == ParamKind::vector);
    }
    if (biases) sum(0, at.network.column(at.cell.bias_columns()));
    if (vectors) sum(at.network.vector(0), at.network.sums_width());
  }

  template <class F>
  void point_operand(const BackwardLayer<T>& at, int slice, ptrdiff_t begin, ptrdiff_t end, const F& row) {
    const RowSet& sequences = at.shared.gate_rows.sequences(slice);
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t i = 0; i < sequences.active(s); ++i) operand_[size_t(count++)] = row(s, sequences.position(i));
  }

  // The gradient of a slice to a matrix += d_gates^T . operand, for the columns that `runs` names.
  void outer(const BackwardLayer<T>& at, int slice, const T* d_gates, ptrdiff_t rows, int matrix, const List<Run>& runs,
             ptrdiff_t offset) {
    const ParamSpec& spec = at.cell.parameters[matrix];
    const ptrdiff_t width = at.network.columns(spec, at.weights->input);
    for (const Run& run : runs) {
      const Share share = at.slice_share(at.network.run_width(run));
      OuterArgs<T> a;
      a.rows = rows;
      a.d = d_gates + at.network.column(run.column), a.d_row = at.shared.gate_row;
      a.j_begin = share.begin, a.j_end = share.end;
      a.operand = operand_.data(), a.operand_offset = offset;
      a.width = width;
      a.gradient = gradient(at, slice, matrix) + run.block * at.sizes.of(spec.rows) * width, a.gradient_row = width;
      a.panel = panel_.data();
      at.network.kernels().outer(a);
    }
  }

  std::vector<const T*> operand_;  // rows of a chunk, or a panel of rows of a table
  AlignedBuffer<T> panel_;
};

}  // namespace pylstm
