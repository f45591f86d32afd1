#include "linear.h"

#include <algorithm>
#include <vector>

#include "memory.h"
#include "pack.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// Of a chain. Longer ones lose to rounding (an output of 5,000 terms), and their panels to the cache.
constexpr ptrdiff_t chain = 512;

// Fewer cycles than this for each thread, and waking it costs more than it brings.
constexpr double cycles_a_thread = 15000;

double cycles_of(ptrdiff_t rows, ptrdiff_t in, ptrdiff_t out, ptrdiff_t lanes) {
  return double(rows) * double(in) * double((out + lanes - 1) / lanes) / 2;
}

int useful_threads(double cycles, int threads) {
  return int(std::clamp(cycles / cycles_a_thread, 1.0, double(threads)));
}

// Workers share a product as a grid: rows x blocks of columns.
struct Grid {
  int rows = 1, blocks = 1;

  // The grid whose busiest worker has least to do: whole tiles of rows, whole blocks.
  Grid(ptrdiff_t tiles, ptrdiff_t all_blocks, int threads) {
    ptrdiff_t least = PTRDIFF_MAX;
    for (int r = 1; r <= threads; ++r) {
      if (threads % r) continue;
      const int b = threads / r;
      const ptrdiff_t most = (tiles + r - 1) / r * ((all_blocks + b - 1) / b);
      if (most < least) least = most, rows = r, blocks = b;
    }
  }
};

// y = init + a . B, where B, of k rows and `units` columns, is packed by all workers together first.
template <class T>
class Product {
 public:
  Product(const Kernels<T>& kernels, ptrdiff_t rows, ptrdiff_t k, ptrdiff_t units, Matrix<const T> a,
          const PackSource<T>& b, const T* bias, Matrix<T> y, int threads)
      : kernels_(kernels),
        rows_(rows),
        k_(k),
        blocks_{units, kernels.lanes, 1},
        b_(b),
        grid_((rows + kernels.tile_rows - 1) / kernels.tile_rows, blocks_.count(), threads),
        threads_(threads),
        panels_(checked_product({blocks_.count(), block_size()})),
        init_(checked_product({blocks_.count(), block_columns, kernels.lanes})) {
    std::fill_n(init_.data(), init_.size(), T(0));
    if (bias) std::copy_n(bias, units, init_.data());
    a_rows_.resize(size_t(rows)), y_rows_.resize(size_t(rows));
    for (ptrdiff_t r = 0; r < rows; ++r) {
      a_rows_[size_t(r)] = a.data + r * a.row;
      y_rows_[size_t(r)] = y.data + r * y.row;
    }
  }

  // By every worker; then they meet.
  void pack(int id) {
    const Share share(blocks_.count(), id, threads_);
    for (ptrdiff_t block = share.begin; block < share.end; ++block)
      pack_block(blocks_, block, b_, k_, panels_.data() + block * block_size());
  }

  // Of a worker's share. `poll` says after each block whether to go on.
  template <class F>
  bool multiply(int id, const F& poll) const {
    const Share tiles((rows_ + kernels_.tile_rows - 1) / kernels_.tile_rows, id / grid_.blocks, grid_.rows);
    const Share blocks(blocks_.count(), id % grid_.blocks, grid_.blocks);
    const ptrdiff_t end = std::min(rows_, tiles.end * kernels_.tile_rows);
    const ptrdiff_t part = part_tiles * kernels_.tile_rows;
    for (ptrdiff_t row = tiles.begin * kernels_.tile_rows; row < end; row += part)
      for (ptrdiff_t block = blocks.begin; block < blocks.end; ++block) {
        multiply_block(row, std::min(part, end - row), block);
        if (!poll()) return false;
      }
    return true;
  }

 private:
  static constexpr ptrdiff_t part_tiles = 16;  // of rows, which stay in L2 while all the panels pass

  ptrdiff_t block_size() const { return k_ * block_columns * kernels_.lanes; }

  void multiply_block(ptrdiff_t row, ptrdiff_t rows, ptrdiff_t block) const {
    const ptrdiff_t width =
        std::min<ptrdiff_t>(block_columns, blocks_.vectors() - block * block_columns) * kernels_.lanes;
    StageArgs<T> a;
    a.rows = rows;
    a.units = blocks_.units;
    a.block_begin = block, a.block_end = block + 1;
    a.out[0] = {y_rows_.data() + row, 0};
    a.in[0] = {const_cast<const T* const*>(a.out[0].rows), 0};
    for (ptrdiff_t k = 0; k < k_ || k == 0; k += chain) {
      a.first = {a_rows_.data() + row, k, 1, std::min(chain, k_ - k)};
      a.first_panels = {panels_.data() + block * block_size() + k * width, 0};
      a.init = k ? zeros_.data() : init_.data() + block * block_columns * kernels_.lanes;
      kernels_.stage[int(k ? StageId::add : StageId::linear)][0](a);
    }
  }

  const Kernels<T>& kernels_;
  const ptrdiff_t rows_, k_;
  const Blocks blocks_;
  const PackSource<T> b_;
  const Grid grid_;
  const int threads_;
  AlignedBuffer<T> panels_, init_;
  std::vector<T> zeros_ = std::vector<T>(size_t(block_columns * kernels_.lanes), T(0));
  std::vector<const T*> a_rows_;
  std::vector<T*> y_rows_;
};

// gradient = d^T . x, and the sums of the columns of d.
template <class T>
class WeightGradient {
 public:
  WeightGradient(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int threads)
      : kernels_(kernels),
        call_(call),
        grid_((call.out + kernels.tile_rows - 1) / kernels.tile_rows, (call.in + block() - 1) / block(), threads),
        threads_(threads) {
    x_rows_.resize(size_t(call.rows));
    for (ptrdiff_t r = 0; r < call.rows; ++r) x_rows_[size_t(r)] = call.x.data + r * call.x.row;
    for (int i = 0; i < threads; ++i) panels_.emplace_back(outer_panel_rows * block());
  }

  template <class F>
  bool run(int id, const F& poll) const {
    if (call_.d_bias) {
      const Share lanes((call_.out + kernels_.lanes - 1) / kernels_.lanes, id, threads_);
      const ptrdiff_t begin = lanes.begin * kernels_.lanes, end = std::min(call_.out, lanes.end * kernels_.lanes);
      if (begin < end) {
        std::fill(call_.d_bias + begin, call_.d_bias + end, T(0));
        kernels_.sum_rows(call_.d_y.data, call_.d_y.row, call_.rows, begin, end, call_.d_bias);
      }
    }
    if (!call_.d_weight) return true;
    const Share tiles((call_.out + kernels_.tile_rows - 1) / kernels_.tile_rows, id / grid_.blocks, grid_.rows);
    const Share blocks((call_.in + block() - 1) / block(), id % grid_.blocks, grid_.blocks);
    const ptrdiff_t j_begin = tiles.begin * kernels_.tile_rows,
                    j_end = std::min(call_.out, tiles.end * kernels_.tile_rows);
    const ptrdiff_t i_begin = blocks.begin * block(), i_end = std::min(call_.in, blocks.end * block());
    for (ptrdiff_t j = j_begin; j < j_end; ++j)
      std::fill(call_.d_weight + j * call_.in + i_begin, call_.d_weight + j * call_.in + std::max(i_begin, i_end),
                T(0));
    OuterArgs<T> a;
    a.d_row = call_.d_y.row;
    a.j_begin = j_begin, a.j_end = j_end;
    a.operand_offset = i_begin, a.width = i_end - i_begin;
    a.gradient = call_.d_weight + i_begin, a.gradient_row = call_.in;
    a.panel = panels_[size_t(id)].data();
    for (ptrdiff_t row = 0; row < call_.rows && j_begin < j_end && i_begin < i_end; row += outer_panel_rows) {
      a.rows = std::min(outer_panel_rows, call_.rows - row);
      a.d = call_.d_y.data + row * call_.d_y.row;
      a.operand = x_rows_.data() + row;
      (call_.out <= few ? kernels_.few_outputs_gradient : kernels_.outer)(a);
      if (!poll()) return false;
    }
    return true;
  }

 private:
  ptrdiff_t block() const { return block_columns * kernels_.lanes; }

  const Kernels<T>& kernels_;
  const LinearBackwardCall<T>& call_;
  const Grid grid_;
  const int threads_;
  std::vector<const T*> x_rows_;
  std::vector<AlignedBuffer<T>> panels_;  // of every worker
};

// Workers that never wait for each other but once: an interrupt is known to all where they look next.
class Poll {
 public:
  Poll(Interrupt& interrupt, int id) : interrupt_(interrupt), id_(id) {}
  bool operator()() const {
    interrupt_.poll(id_);
    return !interrupt_.stopped();
  }

 private:
  Interrupt& interrupt_;
  const int id_;
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
  const double cycles = cycles_of(call.rows, call.in, call.out, kernels.lanes);
  if (call.out <= few) return few_outputs(kernels, call, useful_threads(cycles, threads));
  for (int count = useful_threads(cycles, threads);;) {
    Product<T> product(kernels, call.rows, call.in, call.out, call.x, {call.weight.data, call.weight.row, 1}, call.bias,
                       call.y, count);
    Interrupt interrupt(call.interrupted, cycles / count, double(call.rows), count);
    Barrier barrier(count, interrupt);
    const int got = parallel(count, [&](int id) {
      product.pack(id);
      if (barrier.wait(id)) product.multiply(id, Poll(interrupt, id));
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template <class T>
bool linear_backward(const Kernels<T>& kernels, const LinearBackwardCall<T>& call, int threads) {
  const double cycles = 2 * cycles_of(call.rows, call.in, call.out, kernels.lanes);
  for (int count = useful_threads(cycles, threads);;) {
    const bool need_dx = call.d_x.data;
    Product<T> product(kernels, need_dx ? call.rows : 0, call.out, need_dx ? call.in : 0, call.d_y,
                       {call.weight.data, 1, call.weight.row}, nullptr, call.d_x, count);
    WeightGradient<T> gradient(kernels, call, count);
    Interrupt interrupt(call.interrupted, cycles / count, double(call.rows), count);
    Barrier barrier(count, interrupt);
    const int got = parallel(count, [&](int id) {
      const Poll poll(interrupt, id);
      product.pack(id);
      if (barrier.wait(id) && product.multiply(id, poll)) gradient.run(id, poll);
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
