// The gradient to a layer's input, for a chunk of steps at once: d_x = d_gates . W.
#pragma once

#include "backward_layer.h"

namespace pylstm {

template <class T>
class InputGradient {
 public:
  explicit InputGradient(const BackwardLayer<T>& layer)
      : d_gates_(size_t(layer.shared.gate_rows.count())), d_x_(size_t(layer.shared.gate_rows.count())) {}

  // For the group's rows of the steps [begin, end). The reverse direction adds to what the other has left.
  void run(const BackwardLayer<T>& at, ptrdiff_t begin, ptrdiff_t end) {
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t i = 0; i < at.rows.active(s); ++i, ++count) {
        const ptrdiff_t p = at.rows.position(i);
        d_gates_[size_t(count)] = at.gate_row(s, p);
        d_x_[size_t(count)] = at.d_x.row(at.time(p, s), at.order.sequence(p));
      }
    if (!count) return;
    StageArgs<T> a = at.product(at.transposed->dx, at.cell.x_runs(), d_gates_.data(), 0);
    a.rows = count;
    a.out[0] = {d_x_.data(), 0};
    a.in[0] = at.as_const(a.out[0]);
    const StageId id = at.reverse ? StageId::add : StageId::linear;
    at.network.kernels().stage[int(id)][0](a);
  }

 private:
  std::vector<const T*> d_gates_;
  std::vector<T*> d_x_;
};

}  // namespace pylstm
