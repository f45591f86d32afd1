// The gradients to a layer's parameters, added up chunk by chunk: d_gates^T . operand over all sequences, each worker
// for its rows of every matrix.
#pragma once

#include <utility>

#include "backward_layer.h"

namespace pylstm {

template <class T>
class WeightGradients {
 public:
  explicit WeightGradients(const BackwardLayer<T>& layer)
      : operand_(size_t(layer.shared.chunk_rows)),
        panel_(outer_panel_rows * block_columns * layer.network.kernels().lanes) {}

  // The worker's rows start from zero, or from what is there.
  void start(const BackwardLayer<T>& at) const {
    const Share columns = at.my_share(ptrdiff_t(at.shared.bias.size()));
    std::fill(at.shared.bias.begin() + columns.begin, at.shared.bias.begin() + columns.end, T(0));
    if (at.shared.call.accumulate) return;
    const Share gates = at.my_share(at.cell.gates * at.sizes.hidden);
    for (Param p : {Param::weight_ih, Param::weight_hh}) {
      const ptrdiff_t columns = p == Param::weight_ih ? at.weights->input : at.sizes.output;
      std::fill(at.d_params.of(p) + gates.begin * columns, at.d_params.of(p) + gates.end * columns, T(0));
    }
    if (at.cell.projection) {
      const Share rows = at.my_share(at.sizes.output);
      std::fill(at.d_params.of(Param::weight_hr) + rows.begin * at.sizes.hidden,
                at.d_params.of(Param::weight_hr) + rows.end * at.sizes.hidden, T(0));
    }
  }

  // The steps [begin, end).
  void add(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t hidden = at.sizes.hidden;
    point_operand(at, begin, end,
                  [&](ptrdiff_t s, ptrdiff_t p) { return at.x.row(at.time(p, s), at.order.sequence(p)); });
    outer(at, begin, end, at.d_params.of(Param::weight_ih), {0, 0, at.cell.gates}, at.weights->input, 0);

    // Runs of gates of weight_hh that multiply the same operand and lie side by side.
    for (int g = 0; g < at.cell.gates;) {
      const Ref operand = at.cell.r_operand[g];
      Segment run{at.cell.r_column[g], g, 1};
      for (++g; g < at.cell.gates && at.cell.r_operand[g].where == operand.where &&
                at.cell.r_column[g] == run.column + run.count;
           ++g)
        ++run.count;
      const bool prev_h = operand.where == Where::prev_h;
      if (prev_h)
        point_operand(at, begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return at.prev_h_row(s, p); });
      else
        point_operand(at, begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return at.record_row(s, p); });
      outer(at, begin, end, at.d_params.of(Param::weight_hh), run, at.sizes.output,
            prev_h ? 0 : operand.index * hidden);
    }
    if (at.cell.projection) {
      point_operand(at, begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return at.record_row(s, p); });
      outer(at, begin, end, at.d_params.of(Param::weight_hr), {at.cell.columns, 0, 1}, hidden,
            at.cell.projected_record * hidden);
    }
    if (at.d_params.of(Param::bias_ih) || at.d_params.of(Param::bias_hh)) {
      const Share columns = at.my_share(at.cell.columns * hidden);
      at.network.kernels().sum_rows(at.gate_row(begin, 0), at.shared.gate_row,
                                    at.order.start(end) - at.order.start(begin), columns.begin, columns.end,
                                    at.shared.bias.data());
    }
  }

  // When all workers have added up all chunks: the sums that are the gradients to the biases.
  void finish(const BackwardLayer<T>& at) const {
    if (at.id != 0) return;
    const ptrdiff_t hidden = at.sizes.hidden;
    for (int g = 0; g < at.cell.gates; ++g)
      for (const auto& [param, column] : {std::pair(Param::bias_ih, g), std::pair(Param::bias_hh, at.cell.r_column[g])})
        if (T* to = at.d_params.of(param)) {
          const T* sum = at.shared.bias.data() + column * hidden;
          for (ptrdiff_t j = 0; j < hidden; ++j)
            to[g * hidden + j] = at.shared.call.accumulate ? to[g * hidden + j] + sum[j] : sum[j];
        }
  }

 private:
  template <class F>
  void point_operand(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end, const F& row) {
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t p = 0; p < at.order.active(s); ++p) operand_[size_t(count++)] = row(s, p);
  }

  // gradient += d_gates^T . operand for the gates of a segment.
  void outer(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end, T* gradient, const Segment& segment,
             ptrdiff_t width, ptrdiff_t offset) {
    const Share share = at.my_share(at.network.segment_width(segment));
    OuterArgs<T> a;
    a.rows = at.order.start(end) - at.order.start(begin);
    a.d = at.gate_row(begin, 0) + segment.column * at.sizes.hidden, a.d_row = at.shared.gate_row;
    a.j_begin = share.begin, a.j_end = share.end;
    a.operand = operand_.data(), a.operand_offset = offset;
    a.width = width;
    a.gradient = gradient + segment.gate * at.sizes.hidden * width, a.gradient_row = width;
    a.panel = panel_.data();
    at.network.kernels().outer(a);
  }

  std::vector<const T*> operand_;  // rows of a chunk
  AlignedBuffer<T> panel_;
};

}  // namespace pylstm
