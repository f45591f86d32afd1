#include <algorithm>
#include <utility>

#include "dropout.h"
#include "input_table.h"
#include "kept_plans.h"
#include "parallel.h"
#include "worker.h"

namespace pylstm {
namespace {

// What all workers of a call share, made on the caller's thread before they start.
template <class T>
struct Shared {
  Shared(const ForwardCall<T>& call_, const Plan& plan, Saved<T>& saved_)
      : call(call_),
        split(plan.split),
        saved(saved_),
        interrupt(call.interrupted, plan.cycles, plan.steps, split.threads()) {
    const auto& network = call.network;
    const Sizes& sizes = network.sizes();
    const ptrdiff_t group = ceil_div(call.order.batch(), split.rows);
    const bool chunks = sizes.layers > 1 || !call.symbols.symbols;
    if (const ptrdiff_t rows = chunks ? plan.chunk_rows : 0)
      chunk_steps = std::min(std::max<ptrdiff_t>(1, rows / std::max<ptrdiff_t>(1, group)), call.order.steps());
    chunk_rows = chunk_steps * group;
    zeros.assign(size_t(std::max({sizes.hidden, sizes.width(), sizes.input}) + 64), T(0));
    teams.reserve(size_t(split.rows));
    for (int r = 0; r < split.rows; ++r)
      teams.push_back(std::make_unique<Barrier>(split.units * split.directions, interrupt));
    for (int i = 0; i < split.rows * split.directions; ++i)
      sharers.push_back(std::make_unique<Barrier>(split.units, interrupt));
    input_table = call.symbols.kept;
    if (call.symbols.symbols && !input_table) {
      own_table = std::make_unique<InputTable<T>>(network, call.symbols.symbols->distinct());
      input_table = own_table.get();
      everyone = std::make_unique<Barrier>(split.threads(), interrupt);
      for (const int64_t row : call.symbols.symbols->rows())
        symbol_rows.push_back(call.symbols.table + row * call.symbols.table_row);
    }
    if (chunk_rows) {
      ptrdiff_t elements = 0;
      for (int s = 0; s < network.cell().forward.count; ++s)
        if (network.cell().forward[s].x_matrix >= 0)
          elements += gate_block() * network.layer(0, 0).forward[s].blocks.count();
      for (int i = 0; i < split.rows * split.directions; ++i) gates.emplace_back(elements);
    }
  }

  ptrdiff_t gate_row() const { return block_columns * call.network.kernels().lanes; }
  ptrdiff_t gate_block() const { return checked_product({chunk_rows, gate_row()}); }

  const ForwardCall<T>& call;
  const Split split;
  Saved<T>& saved;
  ptrdiff_t chunk_steps = 0, chunk_rows = 0;  // of the input product; 0: it is part of every step
  std::vector<T> zeros;
  Interrupt interrupt;
  std::vector<std::unique_ptr<Barrier>> teams;    // the workers of a group of sequences
  std::vector<std::unique_ptr<Barrier>> sharers;  // those of them that share the units of one direction
  std::vector<AlignedBuffer<T>> gates;            // per group and direction: accumulators of a chunk
  const InputTable<T>* input_table = nullptr;     // of the rows that x is made of; null: x is no symbols
  std::unique_ptr<InputTable<T>> own_table;       // the same, made by this call
  std::unique_ptr<Barrier> everyone;              // meets behind it
  std::vector<const T*> symbol_rows;              // those rows
};

// One thread: a group of sequences, a share of the units, every direction or one of two.
template <class T>
class Worker : LayerWorker<T> {
 public:
  Worker(Shared<T>& shared, int id)
      : LayerWorker<T>(shared.call.network, shared.call.order, id % shared.split.units, shared.split.units,
                       id / shared.split.units / shared.split.directions, shared.split.rows),
        shared_(shared),
        call_(shared.call),
        id_(id),
        direction_(id / shared.split.units % shared.split.directions),
        group_(id / shared.split.units / shared.split.directions) {
    for (auto* pointers : {&x_, &h_, &record_}) pointers->resize(size_t(rows.count()));
    for (int i = 0; i < cell.states.count; ++i) previous_[i].resize(size_t(rows.count()));
    for (int i = 0; i < cell.masks.count; ++i)
      mask_means_.emplace_back(size_t(rows.count()), const_cast<T*>(network.mask_mean(i)));
    chunk_x_.resize(size_t(shared.chunk_rows));
    if (shared.input_table) places_.resize(size_t(rows.count()));
  }

  void run() {
    const Split& split = shared_.split;
    if (shared_.own_table) {
      multiply_symbols();
      if (!shared_.everyone->wait(id_)) return;
    }
    for (int layer = 0; layer < sizes.layers; ++layer) {
      for (int d = direction_; d < sizes.directions; d += split.directions) run_direction(layer, d);
      if (!meet_team()) return;
      if (layer + 1 < sizes.layers && !shared_.saved.dropped.empty()) {
        drop(layer);
        if (!meet_team()) return;
      }
    }
  }

 private:
  using Base = LayerWorker<T>;
  using Base::as_const, Base::inner, Base::input_of, Base::time, Base::state_row, Base::set_blocks, Base::set_rows,
      Base::enter;
  using Base::network, Base::cell, Base::sizes, Base::order, Base::unit, Base::rows, Base::reverse, Base::index,
      Base::weights;
  using typename Base::Rows;

  bool meet_team() { return shared_.teams[size_t(group_)]->wait(direction_ * shared_.split.units + unit); }
  int place() const { return group_ * shared_.split.directions + direction_; }

  View<T> output_of(int layer) const {
    return layer + 1 == sizes.layers ? call_.output : inner(shared_.saved.outputs, layer);
  }

  void run_direction(int layer, int direction) {
    enter(layer, direction);
    by_symbol_ = layer == 0 && shared_.input_table;
    chunked_ = shared_.chunk_steps && !by_symbol_;
    in_ = layer == 0 ? call_.x : input_of(shared_.saved, layer);
    out_ = output_of(layer);
    out_.data += direction * sizes.output;
    records_ = shared_.saved.records[size_t(index)].data();
    this->point_vectors(table_);
    for (int i = 0; i < cell.records.count; ++i) table_.at(Where::record, i) = {record_.data(), network.record(i)};
    const bool draws = call_.training && cell.masks.count;
    for (int i = 0; i < cell.masks.count; ++i)
      table_.at(Where::mask, i) =
          draws ? Slot<T>{record_.data(), network.mask(i)} : Slot<T>{mask_means_[size_t(i)].data(), 0};
    for (int i = 1; i < cell.states.count; ++i) {
      table_.at(Where::state, i) = {record_.data(), network.state_record(i)};
      table_.at(Where::previous, i) = {previous_[i].data(), 0};
    }

    const ptrdiff_t steps = rows.steps();
    if (draws && steps) {
      draw_masks(0);
      if (!shared_.sharers[size_t(place())]->wait(unit)) return;
    }
    for (ptrdiff_t s = 0; s < steps; ++s) {
      if (draws && s + 1 < steps) draw_masks(s + 1);  // the others meet this worker before they read it
      if (chunked_ && s % shared_.chunk_steps == 0) input_product(s), chunk_row_ = 0;
      point_rows(s);
      for (int i = 0; i < cell.forward.count; ++i) {
        run_stage(i, s);
        if (!shared_.sharers[size_t(place())]->wait(unit)) return;  // and meet the team
      }
      chunk_row_ += rows.active(s);
      shared_.interrupt.poll(id_);
    }
    if (unit == 0) finish();
  }

  T* record_row(ptrdiff_t step, ptrdiff_t position) const {
    const ptrdiff_t row = call_.training ? order.start(step) + position : position;
    return records_ + row * network.record_width();
  }
  const T* initial_row(int state, ptrdiff_t position) const {
    return state_row(call_.initial[state], state, position, shared_.zeros.data());
  }

  // Into the records of step s, where the backward pass finds them; the worker's share of the rows.
  void draw_masks(ptrdiff_t s) {
    const Share share(rows.active(s), unit, this->units);
    for (ptrdiff_t i = share.begin; i < share.end; ++i) {
      const ptrdiff_t p = rows.position(i);
      for (int m = 0; m < cell.masks.count; ++m) {
        const MaskSpec& mask = cell.masks[m];
        fill_mask(call_.dropout, m, network.mask_probability(m), network.mask_kept(m), index,
                  sizes.layers * sizes.directions, mask.drawn == Drawn::each_step ? time(p, s) : 0, order.sequence(p),
                  sizes.of(mask.width), record_row(s, p) + network.mask(m));
      }
    }
  }

  void point_rows(ptrdiff_t s) {
    const ptrdiff_t active = rows.active(s);
    std::swap(h_, previous_[0]);
    table_.at(Where::state) = {h_.data(), 0};
    table_.at(Where::previous) = {previous_[0].data(), 0};
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = rows.position(i), n = order.sequence(p), t = time(p, s);
      const size_t at = size_t(i);
      if (by_symbol_)
        places_[at] = call_.symbols.symbols->place(t, n);
      else
        x_[at] = const_cast<T*>(in_.row(t, n));
      h_[at] = out_.row(t, n);
      record_[at] = record_row(s, p);
      if (s == 0) previous_[0][at] = const_cast<T*>(initial_row(0, p));  // later, the h of the step before
      for (int state = 1; state < cell.states.count; ++state)
        previous_[state][at] =
            s ? record_row(s - 1, p) + network.state_record(state) : const_cast<T*>(initial_row(state, p));
    }
  }

  static Operand<T> operand(const Slot<T>& slot, ptrdiff_t k) { return {as_const(slot).rows, slot.offset, 1, k}; }

  void run_stage(int index, ptrdiff_t s) {
    const ForwardStage& stage = cell.forward[index];
    const auto& packed = weights->forward[index];
    StageArgs<T> a;
    set_blocks(a, packed.blocks, s);
    a.rows = rows.active(s);
    if (stage.whole_rows) set_rows(a, a.rows);
    if (stage.x_matrix >= 0 && by_symbol_) {
      shared_.input_table->start(a, reverse, index, places_.data());
    } else if (stage.x_matrix >= 0 && chunked_) {
      a.init = gates(index) + chunk_row_ * shared_.gate_row();
      a.init_block = shared_.gate_block(), a.init_row = shared_.gate_row();
    } else {
      a.init = packed.bias, a.init_block = packed.bias_block;
      if (stage.x_matrix >= 0) a.first = operand({x_.data(), 0}, packed.x.k), a.first_panels = packed.x.panels;
    }
    if (stage.matrix >= 0)
      a.second = operand(table_[stage.operand], packed.operand.k), a.second_panels = packed.operand.panels;
    table_.set(a, stage);
    network.kernels().stage[stage.id][call_.training](a);
  }

  T* gates(int stage) const {
    ptrdiff_t before = 0;
    for (int s = 0; s < stage; ++s)
      before += cell.forward[s].x_matrix >= 0 ? shared_.gate_block() * weights->forward[s].blocks.count() : 0;
    return shared_.gates[size_t(place())].data() + before;
  }

  // The worker's share of the distinct rows: copied where training needs them again, and multiplied.
  void multiply_symbols() {
    const SymbolInput<T>& input = call_.symbols;
    const Share share(shared_.own_table->rows(), id_, shared_.split.threads());
    constexpr ptrdiff_t most = 512;  // until worker 0 asks for interrupts again
    for (ptrdiff_t begin = share.begin; begin < share.end && !shared_.interrupt.stopped(); begin += most) {
      const ptrdiff_t end = std::min(begin + most, share.end);
      for (ptrdiff_t row = begin; row < end && input.rows; ++row) {
        T* const copy = input.rows + row * sizes.input;
        std::copy_n(shared_.symbol_rows[size_t(row)], sizes.input, copy);
        shared_.symbol_rows[size_t(row)] = copy;
      }
      shared_.own_table->multiply(shared_.symbol_rows.data() + begin, begin, end);
      shared_.interrupt.poll(id_);
    }
  }

  // bias + x . W for the steps of the chunk that begins at s.
  void input_product(ptrdiff_t s) {
    ptrdiff_t count = 0;
    for (ptrdiff_t step = s; step < std::min(s + shared_.chunk_steps, rows.steps()); ++step)
      for (ptrdiff_t i = 0; i < rows.active(step); ++i) {
        const ptrdiff_t p = rows.position(i);
        chunk_x_[size_t(count++)] = in_.row(time(p, step), order.sequence(p));
      }
    for (int i = 0; i < cell.forward.count; ++i) {
      const ForwardStage& stage = cell.forward[i];
      if (stage.x_matrix < 0) continue;
      const auto& packed = weights->forward[i];
      StageArgs<T> a;
      set_blocks(a, packed.blocks, 0);
      a.rows = count;
      a.init = packed.bias, a.init_block = packed.bias_block;
      a.first = {chunk_x_.data(), 0, 1, packed.x.k}, a.first_panels = packed.x.panels;
      a.sums = gates(i), a.sums_block = shared_.gate_block(), a.sums_row = shared_.gate_row();
      network.kernels().sums[stage.id](a);
    }
  }

  // Final states, and zeros behind the end of every sequence.
  void finish() {
    for (ptrdiff_t i = 0; i < rows.count(); ++i) {
      const ptrdiff_t p = rows.position(i), n = order.sequence(p), length = order.length(p);
      for (int state = 0; state < cell.states.count; ++state) {
        const T* from = initial_row(state, p);
        if (length && state == 0) from = out_.row(time(p, length - 1), n);
        if (length && state > 0) from = record_row(length - 1, p) + network.state_record(state);
        std::copy_n(from, network.state(state), state_row(call_.final[state], state, p));
      }
      for (ptrdiff_t t = length; t < call_.steps; ++t) std::fill_n(out_.row(t, n), sizes.output, T(0));
    }
  }

  // Dropout behind a layer; the workers of a team take every n-th sequence of their group.
  void drop(int layer) {
    const View<T> from = inner(shared_.saved.outputs, layer), to = inner(shared_.saved.dropped, layer);
    const int members = shared_.split.units * shared_.split.directions;
    for (ptrdiff_t i = direction_ * shared_.split.units + unit; i < rows.count(); i += members) {
      const ptrdiff_t p = rows.position(i), n = order.sequence(p);
      for (ptrdiff_t t = 0; t < order.length(p); ++t)
        apply_dropout(call_.dropout, layer, sizes.layers, t, n, sizes.width(), from.row(t, n), to.row(t, n));
      shared_.interrupt.poll(id_);
      if (shared_.interrupt.stopped()) return;
    }
  }

  Shared<T>& shared_;
  const ForwardCall<T>& call_;
  const int id_, direction_, group_;

  // Of the layer and direction under way.
  View<const T> in_;
  View<T> out_;
  T* records_ = nullptr;
  bool by_symbol_ = false;   // x . W comes from the table of the distinct rows
  bool chunked_ = false;     // x . W comes from the chunk
  ptrdiff_t chunk_row_ = 0;  // rows of the chunk before the step under way

  // Row pointers of the step under way, one for each of the group's sequences that still run.
  Rows x_, h_, record_, previous_[max_states];
  RowTable<T> table_;
  std::vector<Rows> mask_means_;
  std::vector<const T*> chunk_x_;
  std::vector<int32_t> places_;  // of the symbols of the step under way
};

template <class T>
Saved<T> make_saved(const ForwardCall<T>& call) {
  const Sizes& sizes = call.network.sizes();
  const Order& order = call.order;
  Saved<T> saved;
  const ptrdiff_t rows = call.training ? order.total() : order.batch();
  for (int i = 0; i < sizes.layers * sizes.directions; ++i)
    saved.records.emplace_back(checked_product({rows, call.network.record_width()}));
  // Inference needs the output of one layer while it makes the next; training keeps them all.
  const int inner = call.training ? sizes.layers - 1 : std::min(sizes.layers - 1, 2);
  const ptrdiff_t elements = checked_product({call.steps, order.batch(), sizes.width()});
  for (int i = 0; i < inner; ++i) saved.outputs.emplace_back(elements);
  for (int i = 0; i < inner && call.dropout.p > 0; ++i) saved.dropped.emplace_back(elements);
  return saved;
}

}  // namespace

template <class T>
struct ForwardPass<T>::Layout {
  Layout(const ForwardCall<T>& call, const Plan& plan, Saved<T>& saved)
      : shared(call, plan, saved), cycles(plan.cycles) {
    workers.reserve(size_t(plan.split.threads()));
    for (int id = 0; id < plan.split.threads(); ++id) workers.emplace_back(shared, id);
  }
  Shared<T> shared;
  const double cycles;
  std::vector<Worker<T>> workers;
};

template <class T>
ForwardPass<T>::ForwardPass(const ForwardCall<T>& call, int threads) : call_(call), saved_(make_saved(call)) {
  lay_out(threads);
}
template <class T>
ForwardPass<T>::~ForwardPass() = default;

template <class T>
void ForwardPass<T>::lay_out(int threads) {
  layout_ = std::make_unique<Layout>(
      call_, plan_for(describe(call_.network, call_.order, false, call_.symbols.symbols), threads), saved_);
}

template <class T>
bool ForwardPass<T>::run() {
  for (;;) {
    const int threads = layout_->shared.split.threads();
    const int got = parallel(threads, [this](int id) { layout_->workers[size_t(id)].run(); });
    if (got == threads) return !layout_->shared.interrupt.stopped();
    lay_out(got);
  }
}

template <class T>
double ForwardPass<T>::cycles() const {
  return layout_->cycles;
}

template <class T>
Saved<T> ForwardPass<T>::take_saved() {
  return std::move(saved_);
}

template class ForwardPass<float>;
template class ForwardPass<double>;

}  // namespace pylstm
