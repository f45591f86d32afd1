#include "linear_cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "matmul.h"
#include "memory.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// Rows of the batch, in whole panels, and classes whose exponentials are computed together: a piece of both stays in L1
// meanwhile, of float32. The logits of a chunk of classes are made for all rows of a block, and stay in L2 until then.
constexpr ptrdiff_t group = panels_fill;
constexpr ptrdiff_t chunk = 128;

// Classes of a chain of the gradient to the rows: a panel of their weights stays in the first cache.
constexpr ptrdiff_t depth = 128;

// Rows of a block: many, since each block reads all weights and adds to all of their gradients, but so few that its
// logits stay in the cache the cores share. It depends on the sizes alone, as sums over rows do on it.
ptrdiff_t block_rows(ptrdiff_t rows, ptrdiff_t out, ptrdiff_t element) {
  constexpr ptrdiff_t bytes = ptrdiff_t(8) << 20;
  const ptrdiff_t most = std::clamp(bytes / element / out / group * group, 2 * group, 20 * group);
  return ceil_div(ceil_div(rows, ceil_div(rows, most)), group) * group;
}

// Of so many numbers, the next odd number of cache lines: those below each other share no few sets of the cache.
ptrdiff_t odd_lines(ptrdiff_t numbers, ptrdiff_t element) {
  const ptrdiff_t line = 64 / element;
  return (ceil_div(numbers, line) | 1) * line;
}

// What the workers share. A block's logits lie class by class, `pitch` numbers for each: the softmax then has a row of
// the batch in every lane, and all three products find their operands as they lie but for hidden and weight, packed.
template <class T>
class Head {
 public:
  Head(const Kernels<T>& kernels, const LinearCrossEntropyCall<T>& call, int threads)
      : kernels_(kernels),
        call_(call),
        threads_(threads),
        block_(block_rows(call.rows, call.out, sizeof(T))),
        pitch_(odd_lines(block_, sizeof(T))),
        chunks_(ceil_div(call.out, chunk)),
        panel_(kernels.matmul.panel_columns),
        cuts_(call.in, panel_, kernels.lanes),
        width_(cuts_.count * panel_),
        gradients_(call.d_weight != nullptr),
        to_hidden_(call.d_hidden.data != nullptr),
        logits_(checked_product({call.out, pitch_})),
        rows_(checked_product({block_, call.in})),
        across_(checked_product({block_, call.in})),
        most_(checked_product({chunks_, block_})),
        sum_(checked_product({chunks_, block_})),
        weighted_(call.share ? checked_product({chunks_, block_}) : 0),
        first_most_(call.largest ? checked_product({chunks_, block_}) : 0),
        first_at_(call.largest ? checked_product({chunks_, block_}) : 0),
        label_logit_(block_) {
    for (ptrdiff_t i = 0; call.share && i < call.out; ++i) share_sum_ += double(call.share[i]);
    if (gradients_) {
      along_ = AlignedBuffer<T>(checked_product({block_, width_}));
      if (call.share)
        for (ptrdiff_t i = 0; i < call.out; ++i) d_share_.push_back(T(call.scale * double(call.share[i])));
    }
    if (to_hidden_) {
      panels_ = AlignedBuffer<T>(checked_product({call.out, width_}));
      d_rows_ = AlignedBuffer<T>(checked_product({block_, call.in}));
    }
    const ptrdiff_t tile = kernels.matmul.tile_rows;
    some_rows_ = std::min(block_, ceil_div(ceil_div(3 * block_, 2 * tile), threads) * tile);
    for (int i = 0; i < threads; ++i) {
      softmax_.emplace_back(block_);
      if (to_hidden_) tiles_.emplace_back(some_rows_ * std::min(depth, call.out));
    }
    std::vector<ptrdiff_t> ends;
    for (int id = 0; id < threads; ++id) {
      const Share tiles(ceil_div(call.out, tile), id, threads);
      const ptrdiff_t end = std::min(call.out, tiles.end * tile);
      for (ptrdiff_t first = tiles.begin * tile, last; first < end; first = last) {
        last = std::min(end, (first / chunk + 1) * chunk);
        classes_.push_back({first, last});
      }
      ends.push_back(ptrdiff_t(classes_.size()));
    }
    for (ptrdiff_t b = 0; b < blocks(); ++b) {
      to_weigh_.emplace_back(ends);
      std::vector<ptrdiff_t> shares;
      for (int id = 0; id < threads; ++id) shares.push_back(Share(chunks_ * pieces_of_chunk(b), id, threads).end);
      to_multiply_.emplace_back(shares);
    }
  }

  ptrdiff_t blocks() const { return ceil_div(call_.rows, block_); }
  ptrdiff_t parts() const { return blocks() * chunks_ * (1 + gradients_ + to_hidden_); }

  // By every worker; they meet between them.
  void begin(int id) {
    if (to_hidden_) pack_weight(id);
    pack_rows(0, id);
  }

  // Logits of all rows of block b, their largest by chunk of classes, exponentials and sums.
  void multiply(ptrdiff_t b, int id, Interrupt& interrupt) {
    const ptrdiff_t groups = ceil_div(count(b), group), pieces = pieces_of_chunk(b);
    ptrdiff_t& done = softmax_[size_t(id)].done;
    done = 0;
    MatmulArgs<T> product;
    product.k = call_.in, product.chain = product_chain;
    product.a_row = call_.weight.row, product.a_step = 1;
    product.b_panel = panel_ * call_.in, product.b_step = panel_;
    product.c_row = pitch_;
    for (ptrdiff_t i; !interrupt.stopped() && (i = to_multiply_[size_t(b)].take(id)) >= 0; ++done) {
      const ptrdiff_t c = i / pieces, first = c * chunk, classes = std::min(chunk, call_.out - first);
      const Share own(groups, int(i % pieces), int(pieces));
      const ptrdiff_t begin = own.begin * group, end = own.end * group;
      product.b = across_.data() + begin * call_.in, product.columns = end - begin;
      for_tiles(first, first + classes, [&](ptrdiff_t row, ptrdiff_t rows) {
        product.a = call_.weight.at(row, 0), product.c = logits_.data() + row * pitch_ + begin;
        product.a_next = row + 2 * rows <= call_.out ? call_.weight.at(row + rows, 0) : nullptr;
        kernels_.matmul.tile(product, rows);
      });
      for (ptrdiff_t column = begin; column < end; column += group) exponentials(b, c, column, first, classes);
      interrupt.poll(id);
    }
  }

  // The losses of block b's rows; gradients to the logits, in their place, and from them those to weight and bias.
  void weigh(ptrdiff_t b, int id, Interrupt& interrupt) {
    Softmax& all = softmax_[size_t(id)];
    join(b, all, Share(count(b), id, threads_));
    if (!gradients_) return;
    for (ptrdiff_t i; !interrupt.stopped() && (i = to_weigh_[size_t(b)].take(id)) >= 0; ++all.done) {
      weigh(b, classes_[size_t(i)].begin, classes_[size_t(i)].end, all);
      interrupt.poll(id);
    }
  }

  // From the gradients to block b's logits those to its rows; the next block's rows.
  void finish(ptrdiff_t b, int id, Interrupt& interrupt) {
    if (to_hidden_) {
      const Range own = rows_of(b, id);
      const ptrdiff_t parts = ceil_div(own.size(), some_rows_);
      for (int i = 0; i < parts; ++i) {
        const Share part(own.size(), i, int(parts));
        finish(b, own.begin + part.begin, own.begin + part.end, id, interrupt);
      }
    }
    if (b + 1 < blocks()) pack_rows(b + 1, id);
  }

 private:
  // What a worker knows of a block's rows, all classes joined.
  struct Softmax {
    explicit Softmax(ptrdiff_t rows)
        : most(size_t(rows)), factor(size_t(rows)), label(size_t(rows)), sum(size_t(rows)) {}
    std::vector<T> most, factor, label;
    std::vector<double> sum;
    ptrdiff_t done = 0;  // pieces of the block, which tell how fast the worker is
  };

  ptrdiff_t count(ptrdiff_t b) const { return std::min(block_, call_.rows - b * block_); }
  ptrdiff_t place_of(ptrdiff_t b, ptrdiff_t r) const { return ptrdiff_t(call_.places[b * block_ + r]); }
  ptrdiff_t label_of(ptrdiff_t b, ptrdiff_t r) const { return ptrdiff_t(call_.labels[b * block_ + r]); }
  double label_weight(ptrdiff_t b, ptrdiff_t r) const { return call_.label_weight[b * block_ + r]; }

  // Of block b, for each chunk of classes. All rows read a class's weights together, but where chunks are too few to be
  // shared out.
  ptrdiff_t pieces_of_chunk(ptrdiff_t b) const {
    return std::clamp<ptrdiff_t>(ceil_div(4 * threads_, chunks_), 1, ceil_div(count(b), group));
  }

  // The rows of block b whose gradients a worker adds up. They are no pieces, since each of these would read all
  // weights: a worker has an equal part, or as many as it has taken pieces before, where those tell of slow cores.
  Range rows_of(ptrdiff_t b, int id) const {
    const ptrdiff_t rows = count(b), tile = kernels_.matmul.tile_rows, tiles = ceil_div(rows, tile);
    ptrdiff_t all = 0, before = 0, least = PTRDIFF_MAX;
    for (int other = 0; other < threads_; ++other) {
      const ptrdiff_t done = softmax_[size_t(other)].done;
      if (other == id) before = all;
      all += done, least = std::min(least, done);
    }
    ptrdiff_t end = before + softmax_[size_t(id)].done;
    const ptrdiff_t equal = all / threads_;
    if (equal < 16 || equal - least <= equal / 8) all = threads_, before = id, end = id + 1;
    return {before * tiles / all * tile, std::min(rows, end * tiles / all * tile)};
  }

  SoftmaxArgs<T> piece(ptrdiff_t first, ptrdiff_t classes, ptrdiff_t column, ptrdiff_t columns) const {
    SoftmaxArgs<T> args;
    args.logits = logits_.data() + first * pitch_ + column;
    args.row = pitch_, args.classes = classes, args.columns = columns;
    return args;
  }

  // Of the classes [first, last), which are of one chunk.
  void weigh(ptrdiff_t b, ptrdiff_t first, ptrdiff_t last, Softmax& all) const {
    to_gradients(b, first / chunk, first, last, all);
    if (call_.d_bias) kernels_.softmax.add_up(piece(first, last - first, 0, count(b)), call_.d_bias + first, b > 0);
    MatmulArgs<T> product;
    product.k = count(b), product.chain = gradient_chain;
    product.a_row = pitch_, product.a_step = 1;
    product.b = along_.data(), product.b_panel = panel_ * block_, product.b_step = panel_;
    product.c_row = product.columns = call_.in, product.add = b > 0;
    for_tiles(first, last, [&](ptrdiff_t row, ptrdiff_t rows) {
      product.a = logits_.data() + row * pitch_, product.c = call_.d_weight + row * call_.in;
      kernels_.matmul.tile(product, rows);
    });
  }

  // The rows [begin, end) of block b, no more than some_rows_.
  void finish(ptrdiff_t b, ptrdiff_t begin, ptrdiff_t end, int id, Interrupt& interrupt) {
    T* const a = tiles_[size_t(id)].data();
    MatmulArgs<T> product;
    product.a_row = 1;
    product.b_step = panel_;
    product.c_row = call_.in;
    for (ptrdiff_t first = 0; first < call_.out && !interrupt.stopped(); first += depth) {
      const ptrdiff_t classes = std::min(depth, call_.out - first);
      // As they lie, a tile's rows would share few sets of the first cache.
      for_tiles(begin, end, [&](ptrdiff_t row, ptrdiff_t rows) {
        MatmulPack<T> pack;
        pack.from = logits_.data() + first * pitch_ + row, pack.unit_stride = 1, pack.k_stride = pitch_;
        pack.units = pack.width = pack.to_step = rows, pack.k = classes;
        pack.to = a + (row - begin) * classes;
        kernels_.matmul.pack(pack);
      });
      product.k = product.chain = classes;
      product.add = first > 0;
      for (ptrdiff_t i = 0; i < cuts_.count; ++i) {
        const ptrdiff_t column = cuts_.begin(i);
        product.b = panels_.data() + i * panel_ * call_.out + first * panel_;
        product.columns = cuts_.end(i) - column;
        // What the next classes need is asked for, a part with each tile: their weights, and the gradients to their
        // logits. 640 rows of 4,961 classes take 0.92 to 0.99 of the time on one thread, all three products.
        const ptrdiff_t next = std::min(first + depth, call_.out), more = std::min(depth, call_.out - next);
        const T* const panel = panels_.data() + i * panel_ * call_.out + next * panel_;
        const Share some(more, int(i), int(cuts_.count));
        for_tiles(begin, end, [&](ptrdiff_t row, ptrdiff_t rows) {
          constexpr ptrdiff_t line = 64 / ptrdiff_t(sizeof(T));
          const ptrdiff_t from = (row - begin) * more / (end - begin), to = (row + rows - begin) * more / (end - begin);
          for (ptrdiff_t j = from * panel_; j < to * panel_; j += line) __builtin_prefetch(panel + j, 0, 2);
          for (ptrdiff_t j = some.begin; j < some.end; ++j)
            __builtin_prefetch(logits_.data() + (next + j) * pitch_ + row, 0, 2);
          product.a = a + (row - begin) * classes, product.a_step = rows;
          product.c = d_rows_.data() + row * call_.in + column;
          kernels_.matmul.tile(product, rows);
        });
      }
      interrupt.poll(id);
    }
    for (ptrdiff_t r = begin; r < end; ++r)
      std::copy_n(d_rows_.data() + r * call_.in, call_.in, call_.d_hidden.at(place_of(b, r), 0));
  }

  // From the logits without bias of a piece of block b, of chunk c.
  void exponentials(ptrdiff_t b, ptrdiff_t c, ptrdiff_t column, ptrdiff_t first, ptrdiff_t classes) {
    SoftmaxArgs<T> softmax = piece(first, classes, column, group);
    const ptrdiff_t at = c * block_ + column;
    softmax.bias = call_.bias ? call_.bias + first : nullptr;
    softmax.most = most_.data() + at;
    if (call_.share) softmax.share = call_.share + first, softmax.sum = weighted_.data() + at;
    kernels_.softmax.most(softmax);
    for (ptrdiff_t r = column; r < std::min(count(b), column + group); ++r)
      if (const ptrdiff_t label = label_of(b, r) - first; label >= 0 && label < classes)
        label_logit_.data()[r] = softmax.logits[label * pitch_ + r - column];
    if (call_.largest) {
      SoftmaxArgs<T> first_most = softmax;
      first_most.most = first_most_.data() + at, first_most.at = first_at_.data() + at;
      kernels_.softmax.first_most(first_most);
    }
    softmax.sum = sum_.data() + at;
    kernels_.softmax.exp(softmax);
  }

  // As equal as they can be: a tile of few rows is slow.
  template <class F>
  void for_tiles(ptrdiff_t begin, ptrdiff_t end, const F& f) const {
    const ptrdiff_t n = end - begin, tiles = ceil_div(n, kernels_.matmul.tile_rows);
    for (ptrdiff_t i = 0; i < tiles; ++i) {
      const ptrdiff_t from = begin + i * n / tiles, to = begin + (i + 1) * n / tiles;
      f(from, to - from);
    }
  }

  // Panels of columns of weight, for the gradient to the rows.
  void pack_weight(int id) {
    const Share share(call_.out, id, threads_);
    MatmulPack<T> pack;
    pack.unit_stride = 1, pack.k_stride = call_.weight.row, pack.k = share.end - share.begin, pack.to_step = panel_;
    for (ptrdiff_t i = 0; i < cuts_.count; ++i) {
      set_units(pack, cuts_.end(i) - cuts_.begin(i));
      pack.from = call_.weight.at(share.begin, cuts_.begin(i));
      pack.to = panels_.data() + i * panel_ * call_.out + share.begin * panel_;
      kernels_.matmul.pack(pack);
    }
  }

  // The rows of block b side by side, in panels of rows for the logits and of columns for the gradient to weight.
  void pack_rows(ptrdiff_t b, int id) {
    const Share share(ceil_div(count(b), group), id, threads_);
    const ptrdiff_t begin = share.begin * group, end = std::min(count(b), share.end * group);
    for (ptrdiff_t r = begin; r < end; ++r)
      std::copy_n(call_.hidden.at(place_of(b, r), 0), call_.in, rows_.data() + r * call_.in);
    MatmulPack<T> pack;
    pack.unit_stride = call_.in, pack.k_stride = 1, pack.k = call_.in, pack.to_step = pack.width = panel_;
    for (ptrdiff_t r = begin; r < share.end * group; r += panel_) {
      pack.units = std::clamp<ptrdiff_t>(end - r, 0, panel_);
      pack.from = rows_.data() + r * call_.in, pack.to = across_.data() + r * call_.in;
      kernels_.matmul.pack(pack);
    }
    if (!gradients_ || begin >= end) return;
    pack.unit_stride = 1, pack.k_stride = call_.in, pack.k = end - begin;
    for (ptrdiff_t i = 0; i < cuts_.count; ++i) {
      set_units(pack, cuts_.end(i) - cuts_.begin(i));
      pack.from = rows_.data() + begin * call_.in + cuts_.begin(i);
      pack.to = along_.data() + i * panel_ * block_ + begin * panel_;
      kernels_.matmul.pack(pack);
    }
  }

  void set_units(MatmulPack<T>& pack, ptrdiff_t left) const {
    pack.units = left;
    pack.width = ceil_div(pack.units, kernels_.lanes) * kernels_.lanes;
  }

  // The softmax of all rows from those of the chunks; the losses of `losses` alone.
  void join(ptrdiff_t b, Softmax& all, const Share& losses) const {
    const ptrdiff_t rows = count(b);
    for (ptrdiff_t r = 0; r < rows; ++r) all.most[size_t(r)] = most_.data()[r], all.sum[size_t(r)] = 0;
    for (ptrdiff_t c = 1; c < chunks_; ++c)
      for (ptrdiff_t r = 0; r < rows; ++r)
        all.most[size_t(r)] = std::max(all.most[size_t(r)], most_.data()[c * block_ + r]);
    for (ptrdiff_t c = 0; c < chunks_; ++c) {
      factors(c, rows, all);
      for (ptrdiff_t r = 0; r < rows; ++r)
        all.sum[size_t(r)] += sum_.data()[c * block_ + r] * double(all.factor[size_t(r)]);
    }
    for (ptrdiff_t r = losses.begin; r < losses.end; ++r) {
      const double log_sum = std::log(all.sum[size_t(r)]) + double(all.most[size_t(r)]);
      double loss = label_weight(b, r) * (log_sum - double(label_logit_.data()[r]));
      if (call_.share) {
        double weighted = 0;
        for (ptrdiff_t c = 0; c < chunks_; ++c) weighted += weighted_.data()[c * block_ + r];
        loss += share_sum_ * log_sum - weighted;
      }
      call_.loss[b * block_ + r] = loss;
      if (call_.largest) call_.largest[b * block_ + r] = first_most(r);
    }
  }

  // The class of row r's largest logit, of all chunks; as `first_most` of the kernels finds it in one.
  int64_t first_most(ptrdiff_t r) const {
    T most = first_most_.data()[r], at = first_at_.data()[r];
    int64_t first = 0;
    for (ptrdiff_t c = 1; c < chunks_; ++c) {
      const T other = first_most_.data()[c * block_ + r];
      if (!(other <= most) && most == most) most = other, at = first_at_.data()[c * block_ + r], first = c * chunk;
    }
    return first + int64_t(at);
  }

  // What the exponentials of a chunk are to be multiplied by, its own largest logit being no longer the one.
  void factors(ptrdiff_t c, ptrdiff_t rows, Softmax& all) const {
    for (ptrdiff_t r = 0; r < rows; ++r) all.factor[size_t(r)] = most_.data()[c * block_ + r] - all.most[size_t(r)];
    kernels_.exp(all.factor.data(), all.factor.data(), rows);
  }

  // Of classes [first, last) of chunk c.
  void to_gradients(ptrdiff_t b, ptrdiff_t c, ptrdiff_t first, ptrdiff_t last, Softmax& all) const {
    const ptrdiff_t rows = count(b);
    factors(c, rows, all);
    std::fill(all.factor.begin() + rows, all.factor.end(), T(0));
    for (ptrdiff_t r = 0; r < rows; ++r) {
      const size_t at = size_t(r);
      const double weight = label_weight(b, r);
      const double factor = call_.scale * (weight + share_sum_) / all.sum[at] * double(all.factor[at]);
      all.factor[at] = T(factor);
      // That of the label is a difference, which may be far smaller than its terms.
      if (const ptrdiff_t label = label_of(b, r); label >= first && label < last) {
        const double share = call_.share ? double(call_.share[label]) : 0;
        all.label[at] = T(factor * double(logits_.data()[label * pitch_ + r]) - call_.scale * (weight + share));
      }
    }
    SoftmaxArgs<T> softmax = piece(first, last - first, 0, ceil_div(rows, group) * group);
    softmax.factor = all.factor.data();
    softmax.share = call_.share ? d_share_.data() + first : nullptr;
    kernels_.softmax.scale(softmax);
    for (ptrdiff_t r = 0; r < rows; ++r)
      if (const ptrdiff_t label = label_of(b, r); label >= first && label < last)
        logits_.data()[label * pitch_ + r] = all.label[size_t(r)];
  }

  const Kernels<T>& kernels_;
  const LinearCrossEntropyCall<T>& call_;
  const int threads_;
  const ptrdiff_t block_, pitch_, chunks_, panel_;
  const PanelCuts cuts_;   // of `in`
  const ptrdiff_t width_;  // of `in`, in whole panels
  const bool gradients_, to_hidden_;
  AlignedBuffer<T> logits_;                 // [class][row]; then exponentials, then gradients
  AlignedBuffer<T> rows_;                   // [row][in]
  AlignedBuffer<T> across_, along_;         // panels of rows, [in][panel], and of columns, [row][panel]
  AlignedBuffer<T> panels_;                 // of columns of weight, [class][panel]
  AlignedBuffer<T> d_rows_;                 // [row][in]
  AlignedBuffer<T> most_;                   // [chunk][row]
  AlignedBuffer<double> sum_, weighted_;    // [chunk][row]
  AlignedBuffer<T> first_most_, first_at_;  // [chunk][row]
  AlignedBuffer<T> label_logit_;
  double share_sum_ = 0;
  std::vector<T> d_share_;
  std::vector<AlignedBuffer<T>> tiles_;         // [tile][class][row of the tile], of every worker
  std::vector<Softmax> softmax_;                // of every worker
  ptrdiff_t some_rows_ = 0;                     // which a worker takes at a time, at most
  std::vector<Range> classes_;                  // whose gradients are one piece: of each worker's share, of one chunk
  std::vector<Pieces> to_multiply_, to_weigh_;  // of every block
};

}  // namespace

template <class T>
bool linear_cross_entropy(const Kernels<T>& kernels, const LinearCrossEntropyCall<T>& call, int threads) {
  if (call.rows == 0) {
    if (call.d_weight) std::fill_n(call.d_weight, call.out * call.in, T(0));
    if (call.d_bias) std::fill_n(call.d_bias, call.out, T(0));
    return true;
  }
  const double cycles = (1 + (call.d_weight != nullptr) + (call.d_hidden.data != nullptr)) *
                            matmul_cycles(call.rows, call.in, call.out, kernels.lanes) +
                        double(call.rows) * double(call.out) * 4 / double(kernels.lanes);
  for (int count = useful_threads(cycles, threads);;) {
    Head<T> head(kernels, call, count);
    Interrupt interrupt(call.interrupted, cycles / count, double(head.parts()) / count, count);
    Barrier barrier(count, interrupt);
    const int got = parallel(count, [&](int id) {
      head.begin(id);
      for (ptrdiff_t b = 0; b < head.blocks(); ++b) {
        if (!barrier.wait(id)) return;
        head.multiply(b, id, interrupt);
        if (!barrier.wait(id)) return;
        head.weigh(b, id, interrupt);
        if (!barrier.wait(id)) return;
        head.finish(b, id, interrupt);
      }
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template bool linear_cross_entropy(const Kernels<float>&, const LinearCrossEntropyCall<float>&, int);
template bool linear_cross_entropy(const Kernels<double>&, const LinearCrossEntropyCall<double>&, int);

}  // namespace pylstm
