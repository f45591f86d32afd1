#include "linear.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "matmul.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// The sums of the columns of d, each worker's share of them.
template <class T>
void sum_columns(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int id, int threads) {
  const Share lanes((call.out + kernels.lanes - 1) / kernels.lanes, id, threads);
  const ptrdiff_t begin = lanes.begin * kernels.lanes, end = std::min(call.out, lanes.end * kernels.lanes);
  if (begin >= end) return;
  std::fill(call.d_bias + begin, call.d_bias + end, T(0));
  kernels.sum_rows(call.d_y.data, call.d_y.row, call.rows, begin, end, call.d_bias);
}

// d_weight = d^T . x for few outputs, each worker's share of its columns.
template <class T>
class FewOutputsGradient {
 public:
  FewOutputsGradient(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int threads)
      : kernels_(kernels), call_(call), threads_(threads) {
    for (ptrdiff_t r = 0; r < call.rows; ++r) x_rows_.push_back(call.x.data + r * call.x.row);
  }

  void run(int id, Interrupt& interrupt) const {
    const Share vectors((call_.in + kernels_.lanes - 1) / kernels_.lanes, id, threads_);
    const ptrdiff_t begin = vectors.begin * kernels_.lanes, end = std::min(call_.in, vectors.end * kernels_.lanes);
    if (begin >= end) return;
    OuterArgs<T> a;
    a.d_row = call_.d_y.row;
    a.j_end = call_.out;
    a.operand_offset = begin, a.width = end - begin;
    a.gradient = call_.d_weight + begin, a.gradient_row = call_.in;
    for (ptrdiff_t j = 0; j < call_.out; ++j) std::fill_n(a.gradient + j * call_.in, a.width, T(0));
    for (ptrdiff_t row = 0; row < call_.rows && !interrupt.stopped(); row += outer_panel_rows) {
      a.rows = std::min(outer_panel_rows, call_.rows - row);
      a.d = call_.d_y.data + row * call_.d_y.row;
      a.operand = x_rows_.data() + row;
      kernels_.few_outputs_gradient(a);
      interrupt.poll(id);
    }
  }

 private:
  const Kernels<T>& kernels_;
  const LinearBackwardCall<T>& call_;
  const int threads_;
  std::vector<const T*> x_rows_;
};

// y = x . W^T + b for few outputs: rows over threads, nothing packed.
template <class T>
class FewOutputs {
 public:
  FewOutputs(const Kernels<T>& kernels, const LinearCall<T>& call, int threads)
      : kernels_(kernels), call_(call), threads_(threads) {
    for (ptrdiff_t r = 0; r < call.rows; ++r) {
      x_rows_.push_back(call.x.data + r * call.x.row);
      y_rows_.push_back(call.y.data + r * call.y.row);
    }
  }

  void run(int id) const {
    const Share share(call_.rows, id, threads_);
    FewOutputsArgs<T> a;
    a.rows = share.end - share.begin, a.k = call_.in, a.outputs = call_.out;
    a.x = x_rows_.data() + share.begin, a.y = y_rows_.data() + share.begin;
    a.weight = call_.weight.data, a.weight_row = call_.weight.row, a.bias = call_.bias;
    kernels_.few_outputs(a);
  }

 private:
  const Kernels<T>& kernels_;
  const LinearCall<T>& call_;
  const int threads_;
  std::vector<const T*> x_rows_;
  std::vector<T*> y_rows_;
};

template <class T>
bool few_outputs(const Kernels<T>& kernels, const LinearCall<T>& call, int count) {
  for (;;) {
    const FewOutputs<T> work(kernels, call, count);
    const int got = parallel(count, [&](int id) { work.run(id); });
    if (got == count) return true;
    count = got;
  }
}

}  // namespace

template <class T>
bool linear(const Kernels<T>& kernels, const LinearCall<T>& call, int threads) {
  if (call.out <= few) {
    const double cycles = matmul_cycles(call.rows, call.in, call.out, kernels.lanes);
    return few_outputs(kernels, call, useful_threads(cycles, threads));
  }
  MatmulCall<T> product{call.rows, call.in, call.out};
  product.a = call.x, product.b = {call.weight.data, 1, call.weight.row}, product.c = call.y;
  product.init = call.bias;
  return matmul(kernels, product, {{0, 0, 0}}, call.interrupted, threads);
}

template <class T>
bool linear_backward(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int threads) {
  const double cycles = 2 * matmul_cycles(call.rows, call.in, call.out, kernels.lanes);
  MatmulCall<T> to_x{call.rows, call.out, call.in}, to_weight{call.out, call.rows, call.in};
  to_x.a = call.d_y, to_x.b = call.weight, to_x.c = call.d_x;
  to_weight.a = {call.d_y.data, 1, call.d_y.row}, to_weight.b = call.x, to_weight.c = {call.d_weight, call.in};
  to_weight.chain = gradient_chain;
  for (int count = useful_threads(cycles, threads);;) {
    Interrupt interrupt(call.interrupted, cycles / count, double(call.rows) / 16, count);
    std::optional<Matmul<T>> x_product, weight_product;
    std::optional<FewOutputsGradient<T>> few_gradient;
    if (call.d_x.data) x_product.emplace(kernels.matmul, kernels.lanes, to_x, count, interrupt);
    if (call.d_weight && call.out <= few)
      few_gradient.emplace(kernels, call, count);
    else if (call.d_weight)
      weight_product.emplace(kernels.matmul, kernels.lanes, to_weight, count, interrupt);
    const int got = parallel(count, [&](int id) {
      if (x_product) x_product->run(to_x, id, id, interrupt);
      if (call.d_bias) sum_columns(kernels, call, id, count);
      if (few_gradient) few_gradient->run(id, interrupt);
      if (weight_product) weight_product->run(to_weight, id, id, interrupt);
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template bool linear(const Kernels<float>&, const LinearCall<float>&, int);
template bool linear(const Kernels<double>&, const LinearCall<double>&, int);
template bool linear_backward(const Kernels<float>&, const LinearBackwardCall<float>&, int);
template bool linear_backward(const Kernels<double>&, const LinearBackwardCall<double>&, int);

}  // namespace pylstm
