#include "linear.h"

#include <algorithm>
#include <optional>

#include "matmul.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// The sums of the columns of d, each worker's share of them: few rows at a time, so that memory is read in its order.
template <class T>
void sum_columns(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int id, int threads) {
  constexpr ptrdiff_t run = 16;  // a chain of sum_rows
  const Share lanes(ceil_div(call.out, kernels.lanes), id, threads);
  const ptrdiff_t begin = lanes.begin * kernels.lanes, end = std::min(call.out, lanes.end * kernels.lanes);
  if (begin >= end) return;
  std::fill(call.d_bias + begin, call.d_bias + end, T(0));
  for (ptrdiff_t row = 0; row < call.rows; row += run)
    kernels.sum_rows(call.d_y.at(row, 0), call.d_y.row, std::min(run, call.rows - row), begin, end, call.d_bias);
}

// d_weight = d^T . x for few outputs, each worker's share of its columns.
template <class T>
void few_outputs_gradient(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int id, int threads,
                          Interrupt& interrupt) {
  constexpr ptrdiff_t run = 4 * gradient_chain;
  const Share vectors(ceil_div(call.in, kernels.lanes), id, threads);
  const ptrdiff_t begin = vectors.begin * kernels.lanes, end = std::min(call.in, vectors.end * kernels.lanes);
  if (begin >= end) return;
  FewGradientArgs<T> a;
  a.outputs = call.out, a.width = end - begin;
  a.d_row = call.d_y.row, a.x_row = call.x.row;
  a.gradient = call.d_weight + begin, a.gradient_row = call.in;
  for (ptrdiff_t o = 0; o < call.out; ++o) std::fill_n(a.gradient + o * call.in, a.width, T(0));
  for (ptrdiff_t row = 0; row < call.rows && !interrupt.stopped(); row += run) {
    a.rows = std::min(run, call.rows - row);
    a.d = call.d_y.at(row, 0), a.x = call.x.at(row, begin);
    kernels.few_outputs_gradient(a);
    interrupt.poll(id);
  }
}

// y = x . W^T + b for few outputs: rows over threads, nothing packed.
template <class T>
bool few_outputs(const Kernels<T>& kernels, const LinearCall<T>& call, int threads) {
  for (int count = threads;;) {
    const int got = parallel(count, [&](int id) {
      const Share share(call.rows, id, count);
      FewOutputsArgs<T> a;
      a.rows = share.end - share.begin, a.k = call.in, a.outputs = call.out;
      a.x = call.x.at(share.begin, 0), a.x_row = call.x.row;
      a.weight = call.weight.data, a.weight_row = call.weight.row, a.bias = call.bias;
      a.y = call.y.at(share.begin, 0), a.y_row = call.y.row;
      kernels.few_outputs(a);
    });
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
    if (call.d_x.data) x_product.emplace(kernels.matmul, kernels.lanes, to_x, count, interrupt);
    if (call.d_weight && call.out > few)
      weight_product.emplace(kernels.matmul, kernels.lanes, to_weight, count, interrupt);
    const int got = parallel(count, [&](int id) {
      if (x_product) x_product->run(to_x, id, id, interrupt);
      if (call.d_bias) sum_columns(kernels, call, id, count);
      if (weight_product) weight_product->run(to_weight, id, id, interrupt);
      if (call.d_weight && !weight_product) few_outputs_gradient(kernels, call, id, count, interrupt);
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

namespace {
constexpr ptrdiff_t group_panels = 4;
}  // namespace

template <class T>
PackedLinear<T>::PackedLinear(const Kernels<T>& kernels, const LinearCall<T>& call)
    : kernels_(kernels),
      in_(call.in),
      out_(call.out),
      has_bias_(call.bias != nullptr),
      group_(group_panels * kernels.matmul.panel_columns),
      bias_(call.bias ? call.out : 0) {
  if (call.bias) std::copy_n(call.bias, out_, bias_.data());
  const ptrdiff_t width = kernels.matmul.panel_columns;
  if (out_ <= few) {  // as they are
    panels_ = AlignedBuffer<T>(checked_product({out_, in_}, sizeof(T)));
    for (ptrdiff_t o = 0; o < out_; ++o) std::copy_n(call.weight.at(o, 0), in_, panels_.data() + o * in_);
    return;
  }
  panels_ = AlignedBuffer<T>(checked_product({ceil_div(out_, width) * width, in_}, sizeof(T)));
  const Matrix<const T> across{call.weight.data, 1, call.weight.row};
  for (ptrdiff_t column = 0; column < out_; column += group_)
    pack_panels(kernels.matmul, kernels.lanes, across, {0, in_}, {column, std::min(out_, column + group_)}, 0, 1,
                panels_.data() + column * in_);
}

template <class T>
double PackedLinear<T>::cycles(ptrdiff_t rows) const {
  return matmul_cycles(rows, in_, out_, kernels_.lanes);
}

template <class T>
void PackedLinear<T>::run(const T* x, ptrdiff_t rows, T* y, int threads) const {
  const ptrdiff_t groups = ceil_div(out_, group_), tile = kernels_.matmul.tile_rows;
  for (int count = useful_threads(cycles(rows), threads);;) {
    const bool by_group = out_ > few && (groups >= 4 * count || rows < 2 * tile);
    const int got = parallel(count, [&](int id) {
      const Share share(by_group ? groups : rows, id, count);
      if (by_group)
        multiply(x, rows, share.begin, share.end, y);
      else
        multiply(x + share.begin * in_, share.end - share.begin, 0, groups, y + share.begin * out_);
    });
    if (got == count) return;
    count = got;
  }
}

template <class T>
void PackedLinear<T>::multiply(const T* x, ptrdiff_t rows, ptrdiff_t group_begin, ptrdiff_t group_end, T* y) const {
  const T* const bias = has_bias_ ? bias_.data() : nullptr;
  if (out_ <= few) {
    FewOutputsArgs<T> a;
    a.rows = rows, a.k = in_, a.outputs = out_;
    a.x = x, a.x_row = in_, a.weight = panels_.data(), a.weight_row = in_, a.bias = bias;
    a.y = y, a.y_row = out_;
    kernels_.few_outputs(a);
    return;
  }
  const ptrdiff_t width = kernels_.matmul.panel_columns;
  MatmulArgs<T> args;
  args.k = in_, args.chain = product_chain;
  args.a_row = in_, args.a_step = 1;
  args.b_step = width, args.b_panel = width * in_, args.c_row = out_;
  const ptrdiff_t tiles = ceil_div(rows, kernels_.matmul.tile_rows);
  for (ptrdiff_t group = group_begin; group < group_end; ++group) {
    const ptrdiff_t column = group * group_;
    args.b = panels_.data() + column * in_;
    args.columns = std::min(group_, out_ - column);
    args.init = bias ? bias + column : nullptr;
    for (ptrdiff_t i = 0; i < tiles; ++i) {
      const ptrdiff_t row = i * rows / tiles, count = (i + 1) * rows / tiles - row;  // as equal as they can be
      args.a = x + row * in_, args.c = y + row * out_ + column;
      kernels_.matmul.tile(args, count);
    }
  }
}

template class PackedLinear<float>;
template class PackedLinear<double>;
template bool linear(const Kernels<float>&, const LinearCall<float>&, int);
template bool linear(const Kernels<double>&, const LinearCall<double>&, int);
template bool linear_backward(const Kernels<float>&, const LinearBackwardCall<float>&, int);
template bool linear_backward(const Kernels<double>&, const LinearBackwardCall<double>&, int);

}  // namespace pylstm
