#include "plan.h"

#include <algorithm>

#include "parallel.h"

#if defined(__linux__)
#include <unistd.h>
#endif

namespace pylstm {
namespace {

// Constants of the model, in cycles and bytes, measured on 2-core Zen 4 and Zen 5 virtual machines. They need to be
// right to a factor of two: the choice is between splits that differ by more.
constexpr double fma_per_cycle = 2;           // vectors
constexpr double chain_cycles = 5;            // latency of one fused multiply-add, and a rest: a tile of few rows
constexpr double activation_cycles = 60;      // the cell, per vector of units and accumulator column / 4
constexpr double cell_latency_cycles = 250;   // the cell of a block of few rows: its chain of activations
constexpr double near_share = 0.9;            // weights up to this share of L2 stay there
constexpr double l2_bytes_per_cycle = 32;     // of one core
constexpr double l3_bytes_per_cycle = 16;     // of one core
constexpr double memory_bytes_per_cycle = 8;  // of all cores together
constexpr double stage_cycles = 300;          // setting up one stage of one step
constexpr double barrier_cycles = 1500;       // two cores meeting, and the lines that then move between them; for more
                                              // cores, each round of the barrier
constexpr double fork_cycles = 15000;         // waking the pool, once a call
constexpr double sharing_units = 1.02;        // meeting at every step suffers more from a disturbed core

// Of one core's L2, and of the L3 that all share; a common size where the system does not tell. Asked when the library
// is loaded: the first call that asked would hold a lock, which a child might find taken for ever.
struct Caches {
  ptrdiff_t l2 = ptrdiff_t(1) << 20, l3 = ptrdiff_t(16) << 20;
  Caches() {
#if defined(_SC_LEVEL3_CACHE_SIZE)
    if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) l2 = bytes;
    if (const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE); bytes > 0) l3 = bytes;
#endif
  }
};
const Caches caches;

// Vectors of gates of a layer, in whole blocks of units, that the busiest worker has.
ptrdiff_t worker_vectors(const Problem& p, int units) {
  const ptrdiff_t per_block = std::max(1, block_columns / p.columns);
  const ptrdiff_t blocks = ceil_div(ceil_div(p.hidden, p.lanes), per_block);
  return std::min(ceil_div(blocks, units) * per_block, ceil_div(p.hidden, p.lanes)) * p.gates;
}

// Bytes of packed weights of `k` rows that one worker reads.
double worker_bytes(const Problem& p, ptrdiff_t k, int units) {
  return double(k) * double(worker_vectors(p, units) * p.lanes * p.weight);
}

bool stays_near(const Problem& p, const Split& split) {
  return worker_bytes(p, p.input + p.output, split.units) < near_share * double(caches.l2);
}

// Cycles to bring `bytes` of a worker's weights to its core.
double read_cycles(const Problem& p, const Split& split, double bytes) {
  const double all = double(p.input + p.output) * double(p.hidden * p.gates * p.weight);
  if (stays_near(p, split)) return bytes / l2_bytes_per_cycle;
  if (all < near_share * double(caches.l3)) return bytes / l3_bytes_per_cycle;
  return bytes * split.threads() / memory_bytes_per_cycle;
}

}  // namespace

template <class T>
Problem describe(const Network<T>& network, const Order& order, bool backward, bool symbols) {
  Problem p;
  p.batch = order.steps() ? ceil_div(order.total(), order.steps()) : 0;  // sequences running at a step, on average
  p.steps = order.steps();
  p.hidden = network.sizes().hidden, p.output = network.sizes().output;
  p.input = network.sizes().layer_input(network.sizes().layers - 1);
  if (symbols && network.sizes().layers == 1) p.input = 0;
  p.gates = network.cell().gates.count, p.columns = 1;
  for (const ForwardStage& stage : network.cell().forward) p.columns = std::max(p.columns, stage.columns);
  p.stages = network.cell().forward.count;
  p.layers = network.sizes().layers, p.directions = network.sizes().directions;
  p.lanes = network.kernels().lanes, p.tile_rows = network.kernels().tile_rows;
  p.element = sizeof(T), p.weight = network.product().element;
  p.backward = backward;
  return p;
}
template Problem describe(const Network<float>&, const Order&, bool, bool);
template Problem describe(const Network<double>&, const Order&, bool, bool);

double estimate(const Problem& p, const Split& split) {
  const ptrdiff_t rows = ceil_div(p.batch, split.rows);
  const double vectors = double(worker_vectors(p, split.units)), k = double(p.input + p.output);
  // A tile of few rows is bound by the latency of its chains.
  const ptrdiff_t tiles = std::max<ptrdiff_t>(1, ceil_div(rows, p.tile_rows));
  const double per_k =
      std::max(double(rows) * vectors / fma_per_cycle, double(tiles) * chain_cycles * vectors / block_columns);
  const double cells = vectors / block_columns * std::max(double(rows) * activation_cycles, cell_latency_cycles);
  // In chunks, the input weights are read once for several steps.
  const ptrdiff_t chunk = input_chunk_rows(p, split);
  const double steps_a_read = chunk ? std::max<double>(1, double(chunk) / double(std::max<ptrdiff_t>(1, rows))) : 1;
  const double bytes = worker_bytes(p, p.output, split.units) + worker_bytes(p, p.input, split.units) / steps_a_read;
  const double products = k * per_k, reads = read_cycles(p, split, bytes);
  // Reading weights hides behind arithmetic, and arithmetic behind reading, but not quite.
  double step = std::max(products, reads) + 0.3 * std::min(products, reads) + cells + p.stages * stage_cycles;
  if (split.units > 1) step = step * sharing_units + p.stages * Barrier::rounds(split.units) * barrier_cycles;
  return step_count(p, split) * (p.backward ? 2 : 1) * step + (split.threads() > 1 ? fork_cycles : 0);
}

double step_count(const Problem& p, const Split& split) {
  return double(p.steps) * double(p.layers) * double(ceil_div(p.directions, split.directions));
}

Split choose_split(const Problem& p, int threads) {
  Split best;
  double least = estimate(p, best);
  if (least <= fork_cycles) return best;
  const ptrdiff_t blocks = ceil_div(p.hidden, p.lanes);  // more workers than these have no share of the units
  for (int d = 1; d <= (p.backward ? 1 : std::min(p.directions, threads)); ++d)
    for (int r = 1; r <= threads / d && r <= std::max<ptrdiff_t>(1, p.batch); ++r)
      for (int u = 1; u <= std::min<ptrdiff_t>(threads / d / r, blocks); ++u) {
        const Split split{r, u, d};
        const double cycles = estimate(p, split);
        if (cycles < least) least = cycles, best = split;
      }
  return best;
}

ptrdiff_t input_chunk_rows(const Problem& p, const Split& split) {
  const ptrdiff_t rows = ceil_div(p.batch, split.rows);
  if (p.steps <= 1 || (stays_near(p, split) && 2 * rows > p.tile_rows)) return 0;
  // Input weights far larger than L2 are best read for many rows at a time: 50 x 32 x 1536 -> 1536 (GRU) gained 8 %
  // from chunks of 512 rows instead of 64. Where they are nearer, the gate buffer had better stay in L2 (50 x 64 x 512
  // -> 512: 4 % slower with 512 rows).
  constexpr ptrdiff_t most = 512;
  if (worker_bytes(p, p.input, split.units) > 4 * double(caches.l2)) return most;
  // Half of L2 for the gate buffer, half for a panel and the rows.
  const ptrdiff_t row_bytes = worker_vectors(p, split.units) * p.lanes * p.element;
  return std::clamp(caches.l2 / 2 / row_bytes, 8 * p.tile_rows, most);
}

// In numbers of x . W a row: what a row costs besides where it comes from the table (it is fetched in the step, and its
// gradient added up), and that the table's product is one of its own beside the steps. Measured with 128 units and 1024
// rows, forward and backward, against looking the rows up: 256 numbers a row gained 1.1 to 1.2 with three quarters of
// the rows distinct, 64 lost a tenth there and gained 1.03 to 1.35 with a half, 16 gained nothing to 1.08 with a
// quarter and 8 lost until a sixteenth. Batches of a few rows gain as large ones do.
bool pays_once(ptrdiff_t total, ptrdiff_t distinct, ptrdiff_t input) {
  constexpr double fetch = 12, apart = 1.25;
  return apart * double(distinct) * double(input) + fetch * double(total) <= double(total) * double(input);
}

Plan plan_with(const Problem& p, const Split& split) {
  return {split, input_chunk_rows(p, split), estimate(p, split), step_count(p, split)};
}

ptrdiff_t gradient_steps(ptrdiff_t batch) { return std::max<ptrdiff_t>(1, 512 / std::max<ptrdiff_t>(1, batch)); }

// A row of gate gradients takes a few cache lines from core to core, where the batch is split and the slices are not;
// with few weights there is little arithmetic beside that. Every slice more has gradients of its own, which have to be
// zeroed and added up: little beside a thousand rows. Slices of fewer sequences would leave chains of rows too short.
int gradient_slices(const Order& order, ptrdiff_t weights) {
  constexpr ptrdiff_t most_weights = ptrdiff_t(1) << 16, least_rows = 1024, sequences = 16;
  if (weights > most_weights || order.total() < least_rows) return 1;
  return order.batch() >= 4 * sequences ? 4 : order.batch() >= 2 * sequences ? 2 : 1;
}

}  // namespace pylstm
