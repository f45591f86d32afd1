#include "matmul.h"

#include <algorithm>

#include "rows.h"

namespace pylstm {
namespace {

// Rows of b that are packed and used before the next ones, multiples of the chains. Where columns are too many for one
// group, each group packs a again: for a sum of short chains fewer rows of more columns are better (4096 x 512 x 512's
// weight gradient takes 0.9 of the time).
constexpr ptrdiff_t most_depth = product_chain, least_depth = 256;
static_assert(most_depth % gradient_chain == 0 && least_depth % gradient_chain == 0);

// Of packed panels, which stay in L2 while all rows pass.
constexpr ptrdiff_t group_bytes = 640 << 10;

// Tiles of a that are packed together: their rows lie side by side in memory, and share its cache lines.
constexpr ptrdiff_t part_tiles = 16;

// Fewer cycles than this for each thread, and waking it costs more than it brings.
constexpr double cycles_a_thread = 15000;

}  // namespace

double matmul_cycles(ptrdiff_t rows, ptrdiff_t k, ptrdiff_t columns, ptrdiff_t lanes) {
  return double(rows) * double(k) * double(ceil_div(columns, lanes)) / 2;
}

int useful_threads(double cycles, int threads) {
  return int(std::clamp(cycles / cycles_a_thread, 1.0, double(threads)));
}

template <class T>
Matmul<T>::Matmul(const MatmulKernels<T>& kernels, ptrdiff_t lanes, const MatmulCall<T>& call, int threads,
                  const Interrupt& interrupt)
    : kernels_(kernels),
      lanes_(lanes),
      rows_(call.rows),
      k_(call.k),
      columns_(call.columns),
      packs_a_(call.a.column != 1) {
  // The grid whose busiest worker has least to do; of those, the one whose workers read least.
  const ptrdiff_t tiles = ceil_div(rows_, kernels.tile_rows), vectors = ceil_div(columns_, lanes);
  ptrdiff_t least = PTRDIFF_MAX, least_read = PTRDIFF_MAX;
  for (int r = 1; r <= threads; ++r) {
    if (threads % r) continue;
    const int c = threads / r;
    const ptrdiff_t most = ceil_div(tiles, r) * ceil_div(vectors, c), read = ceil_div(rows_, r) + ceil_div(columns_, c);
    if (most > least || (most == least && read >= least_read)) continue;
    least = most, least_read = read, grid_rows_ = r, grid_columns_ = c;
  }
  const ptrdiff_t panel = kernels.panel_columns, fill = group_bytes / ptrdiff_t(sizeof(T));
  const ptrdiff_t own = ceil_div(ceil_div(vectors, grid_columns_) * lanes, panel) * panel;  // at most, in whole panels
  depth_ = packs_a_ && call.chain <= least_depth && own * std::min(most_depth, k_) > fill ? least_depth : most_depth;
  const ptrdiff_t k = std::min(depth_, k_), fits = fill / std::max<ptrdiff_t>(1, k) / panel * panel;
  const ptrdiff_t groups = ceil_div(own, std::max(panel, fits));  // of equal size: one of few columns would be slow
  group_ = groups ? ceil_div(own / panel, groups) * panel : panel;
  const bool several = grid_rows_ > 1 && (own > group_ || k_ > depth_);
  for (int i = 0; i < grid_columns_; ++i)
    teams_.push_back(std::make_unique<Team>(checked_product({k, group_}), several ? 2 : 1, grid_rows_, interrupt));
  if (packs_a_)
    for (int i = 0; i < threads; ++i) a_tiles_.emplace_back(checked_product({part_tiles * kernels.tile_rows, k}));
}

template <class T>
void Matmul<T>::run(const MatmulCall<T>& call, int id, int asker, Interrupt& interrupt) {
  Team& team = *teams_[size_t(id % grid_columns_)];
  const int member = id / grid_columns_;
  const Share tiles(ceil_div(rows_, kernels_.tile_rows), member, grid_rows_);
  const Share vectors(ceil_div(columns_, lanes_), id % grid_columns_, grid_columns_);
  const Range rows{tiles.begin * kernels_.tile_rows, std::min(rows_, tiles.end * kernels_.tile_rows)};
  const ptrdiff_t end = std::min(columns_, vectors.end * lanes_);
  T* const a_tiles = packs_a_ ? a_tiles_[size_t(id)].data() : nullptr;
  bool turn = false;
  for (ptrdiff_t k = 0; k < k_ || k == 0; k += depth_)
    for (ptrdiff_t column = vectors.begin * lanes_; column < end; column += group_, turn = !turn) {
      const Range steps{k, std::min(k_, k + depth_)}, columns{column, std::min(end, column + group_)};
      T* const panels = team.panels[team.panels[1].data() ? turn : 0].data();
      pack_panels(kernels_, lanes_, call.b, steps, columns, member, grid_rows_, panels);
      if (!team.barrier.wait(member)) return;
      multiply(call, steps, rows, columns, panels, a_tiles, asker, interrupt);
    }
}

template <class T>
void pack_panels(const MatmulKernels<T>& kernels, ptrdiff_t lanes, const Matrix<const T>& b, Range k, Range columns,
                 int member, int members, T* panels) {
  const ptrdiff_t width = kernels.panel_columns;
  const PanelCuts cuts(columns.size(), width, lanes);
  const Share share(cuts.count, member, members);
  // Panels whose rows lie side by side are packed together, some k at a time, so that memory is read in its order.
  const ptrdiff_t run = b.column == 1 ? pack_run : k.size();
  MatmulPack<T> pack;
  pack.unit_stride = b.column, pack.k_stride = b.row, pack.to_step = width;
  for (ptrdiff_t j = 0; j < k.size(); j += run)
    for (ptrdiff_t i = share.begin; i < share.end; ++i) {
      pack.from = b.at(k.begin + j, columns.begin + cuts.begin(i));
      pack.units = cuts.end(i) - cuts.begin(i), pack.k = std::min(run, k.size() - j);
      pack.to = panels + (i * k.size() + j) * width, pack.width = ceil_div(pack.units, lanes) * lanes;
      kernels.pack(pack);
    }
}

template <class T>
void Matmul<T>::multiply(const MatmulCall<T>& call, Range k, Range rows, Range columns, const T* panels, T* a_tiles,
                         int asker, Interrupt& interrupt) const {
  MatmulArgs<T> args;
  args.k = k.size(), args.chain = call.chain;
  args.b = panels, args.b_step = kernels_.panel_columns, args.b_panel = kernels_.panel_columns * k.size();
  args.c_row = call.c.row, args.columns = columns.size();
  args.init = call.init ? call.init + columns.begin : nullptr;
  args.add = k.begin > 0;
  const ptrdiff_t tiles = ceil_div(rows.size(), kernels_.tile_rows);
  // As equal as they can be: a tile of few rows is slow.
  const auto start = [&](ptrdiff_t i) { return rows.begin + i * rows.size() / tiles; };
  for (ptrdiff_t part = 0; part < tiles && !interrupt.stopped(); part += part_tiles) {
    const ptrdiff_t part_end = std::min(tiles, part + part_tiles), first = start(part);
    if (a_tiles) {
      MatmulPack<T> pack;
      pack.unit_stride = call.a.row, pack.k_stride = call.a.column;
      for (ptrdiff_t j = 0; j < k.size(); j += pack_run)
        for (ptrdiff_t i = part; i < part_end; ++i) {
          pack.units = pack.width = pack.to_step = start(i + 1) - start(i), pack.k = std::min(pack_run, k.size() - j);
          pack.from = call.a.at(start(i), k.begin + j);
          pack.to = a_tiles + (start(i) - first) * k.size() + j * pack.units;
          kernels_.pack(pack);
        }
    }
    for (ptrdiff_t i = part; i < part_end; ++i) {
      const ptrdiff_t row = start(i), count = start(i + 1) - row;
      args.a = a_tiles ? a_tiles + (row - first) * k.size() : call.a.at(row, k.begin);
      args.a_row = a_tiles ? 1 : call.a.row, args.a_step = a_tiles ? count : 1;
      args.a_next = a_tiles || i + 1 == tiles ? nullptr : call.a.at(row + count, k.begin);
      args.c = call.c.at(row, columns.begin);
      kernels_.tile(args, count);
    }
    interrupt.poll(asker);
  }
}

template <class T>
bool matmul(const Kernels<T>& kernels, const MatmulCall<T>& call, const std::vector<MatmulStart>& starts,
            Interrupted interrupted, int threads) {
  const double one = matmul_cycles(call.rows, call.k, call.columns, kernels.lanes);
  const ptrdiff_t batch = ptrdiff_t(starts.size());
  for (int count = useful_threads(one * double(batch), threads);;) {
    // Whole products for each worker, where they come out even.
    const bool apart = count > 1 && (batch % count == 0 || batch >= 4 * count);
    Interrupt interrupt(interrupted, one * double(batch) / count, double(call.rows * batch) / 32, count);
    std::vector<std::unique_ptr<Matmul<T>>> products;
    for (int i = 0; i < (apart ? count : 1); ++i)
      products.push_back(
          std::make_unique<Matmul<T>>(kernels.matmul, kernels.lanes, call, apart ? 1 : count, interrupt));
    const int got = parallel(count, [&](int id) {
      const Share share(batch, apart ? id : 0, apart ? count : 1);
      for (ptrdiff_t i = share.begin; i < share.end; ++i) {
        const MatmulStart& start = starts[size_t(i)];
        MatmulCall<T> part = call;
        part.a.data += start.a, part.b.data += start.b, part.c.data += start.c;
        products[size_t(apart ? id : 0)]->run(part, apart ? 0 : id, id, interrupt);
      }
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template void pack_panels(const MatmulKernels<float>&, ptrdiff_t, const Matrix<const float>&, Range, Range, int, int,
                          float*);
template void pack_panels(const MatmulKernels<double>&, ptrdiff_t, const Matrix<const double>&, Range, Range, int, int,
                          double*);
template class Matmul<float>;
template class Matmul<double>;
template bool matmul(const Kernels<float>&, const MatmulCall<float>&, const std::vector<MatmulStart>&, Interrupted,
                     int);
template bool matmul(const Kernels<double>&, const MatmulCall<double>&, const std::vector<MatmulStart>&, Interrupted,
                     int);

}  // namespace pylstm
