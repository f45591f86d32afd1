#include <algorithm>
#include <memory>
#include <utility>

#include "dropout.h"
#include "kept_plans.h"
#include "parallel.h"
#include "worker.h"

namespace pylstm {
namespace {

// What all workers of a call share. `d_gates` holds the gradients to the accumulators of two chunks of steps: while one
// is filled, the other still gives the step after, and the weight gradients of it.
template <class T>
struct Shared {
  Shared(const BackwardCall<T>& call_, const Plan& plan)
      : call(call_), split(plan.split), interrupt(call.interrupted, plan.cycles, plan.steps, split.threads()) {
    const auto& network = call.network;
    const Sizes& sizes = network.sizes();
    const Order& order = call.order;
    const ptrdiff_t batch = order.batch();
    chunk_steps = gradient_steps(order.steps() ? (order.total() + order.steps() - 1) / order.steps() : 1);
    for (ptrdiff_t s = 0; s < order.steps(); s += chunk_steps)
      chunk_rows = std::max(chunk_rows, order.start(std::min(s + chunk_steps, order.steps())) - order.start(s));
    // A row pitch of a multiple of a page would map a column of the buffer to one set of the L1 cache.
    constexpr ptrdiff_t line = 64 / ptrdiff_t(sizeof(T)), page = 4096 / ptrdiff_t(sizeof(T));
    gate_row = (network.gate_width() + line - 1) / line * line;
    if (gate_row % page == 0) gate_row += line;
    d_gates = AlignedBuffer<T>(checked_product({2, chunk_rows, gate_row}));
    for (int state = 0; state < network.cell().states; ++state)
      carry[state] = AlignedBuffer<T>(checked_product({batch, sizes.state(state)}));
    for (int i = 0; i < std::min(sizes.layers - 1, 2); ++i)
      d_inner.emplace_back(checked_product({call.steps, batch, sizes.width()}));
    zeros.assign(size_t(std::max({sizes.hidden, sizes.width(), sizes.input}) + block_columns * network.kernels().lanes),
                 T(0));
    bias.assign(size_t(network.gate_width()), T(0));
  }

  const BackwardCall<T>& call;
  const Split split;
  ptrdiff_t chunk_steps = 1, chunk_rows = 0, gate_row = 0;
  AlignedBuffer<T> d_gates;
  AlignedBuffer<T> carry[max_states];     // [position][size]
  std::vector<AlignedBuffer<T>> d_inner;  // gradients to the outputs of inner layers, (T, N, width), two in turn
  std::vector<T> zeros;
  std::vector<T> bias;  // sums of the columns of d_gates
  Interrupt interrupt;
  Barrier team{split.threads(), interrupt};
};

// One thread: a group of sequences and a share of the units in the recurrence; a share of the rows of every weight
// gradient.
template <class T>
class Worker : LayerWorker<T> {
 public:
  Worker(Shared<T>& shared, int id)
      : LayerWorker<T>(shared.call.network, shared.call.order, id % shared.split.units, shared.split.units,
                       id / shared.split.units, shared.split.rows),
        shared_(shared),
        call_(shared.call),
        id_(id) {
    const size_t own = size_t(rows_.count());
    for (auto* rows : {&h_, &prev_h_, &record_, &state_, &prev_state_, &d_output_, &d_state_, &carry_h_, &carry_,
                       &d_gate_, &d_gate_next_})
      rows->resize(own);
    chunk_operand_.resize(size_t(shared.chunk_rows));
    chunk_d_.resize(size_t(shared.chunk_rows));
    chunk_dx_.resize(size_t(shared.chunk_rows));
    panel_ = AlignedBuffer<T>(outer_panel_rows * block_columns * network_.kernels().lanes);
  }

  void run() {
    for (int layer = sizes_.layers - 1; layer >= 0; --layer) {
      for (int d = 0; d < sizes_.directions; ++d)
        if (!run_direction(layer, d)) return;
      if (layer > 0 && !call_.saved.dropped.empty()) {
        drop(layer - 1);
        if (!shared_.team.wait(id_)) return;
      }
    }
  }

 private:
  using Base = LayerWorker<T>;
  using Base::as_const, Base::inner, Base::input_of, Base::time, Base::state_row, Base::enter;
  using Base::network_, Base::cell_, Base::sizes_, Base::order_, Base::unit_, Base::rows_, Base::reverse_, Base::index_,
      Base::weights_;
  using typename Base::Rows;

  View<const T> output_of(int layer) const {
    return layer + 1 == sizes_.layers ? call_.output : as_const(inner(call_.saved.outputs, layer));
  }
  // Gradient to the output of a layer; data null: zeros.
  View<const T> d_output_of(int layer) const {
    return layer + 1 == sizes_.layers ? call_.d_output : as_const(inner(shared_.d_inner, layer));
  }
  View<T> d_input_of(int layer) const { return layer == 0 ? call_.d_x : inner(shared_.d_inner, layer - 1); }

  // False: the call ends early, for all workers alike.
  bool run_direction(int layer, int direction) {
    enter(layer, direction);
    transposed_ = &network_.transposed(layer, direction);
    in_ = layer == 0 ? call_.x : input_of(call_.saved, layer);
    out_ = output_of(layer);
    out_.data += direction * sizes_.output;
    d_out_ = d_output_of(layer);
    if (d_out_.data) d_out_.data += direction * sizes_.output;
    d_in_ = d_input_of(layer);
    records_ = call_.saved.records[size_t(index_)].data();
    start_gradients();
    if (!shared_.team.wait(id_)) return false;

    const ptrdiff_t chunks = (order_.steps() + shared_.chunk_steps - 1) / shared_.chunk_steps;
    for (ptrdiff_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const ptrdiff_t begin = chunk * shared_.chunk_steps, end = std::min(begin + shared_.chunk_steps, order_.steps());
      for (ptrdiff_t s = end - 1; s >= begin && step(s); --s) shared_.interrupt.poll(id_);
      if (!shared_.team.wait(id_)) return false;
      if (d_in_.data) input_gradient(begin, end);
      shared_.interrupt.poll(id_);
      weight_gradients(begin, end);
      shared_.interrupt.poll(id_);
    }
    if (!shared_.team.wait(id_)) return false;
    finish();
    return shared_.team.wait(id_);
  }

  Share my_share(ptrdiff_t n) const { return {n, id_, shared_.split.threads()}; }
  Params<T> d_params() const { return call_.d_params[size_t(index_)]; }

  // Zero weight gradients and padding; the gradients to the final states go into `carry`.
  void start_gradients() {
    const Share gates = my_share(cell_.gates * sizes_.hidden);
    for (Param p : {Param::weight_ih, Param::weight_hh}) {
      const ptrdiff_t columns = p == Param::weight_ih ? weights_->input : sizes_.output;
      std::fill(d_params().of(p) + gates.begin * columns, d_params().of(p) + gates.end * columns, T(0));
    }
    if (cell_.projection) {
      const Share rows = my_share(sizes_.output);
      std::fill(d_params().of(Param::weight_hr) + rows.begin * sizes_.hidden,
                d_params().of(Param::weight_hr) + rows.end * sizes_.hidden, T(0));
    }
    const Share columns = my_share(ptrdiff_t(shared_.bias.size()));
    std::fill(shared_.bias.begin() + columns.begin, shared_.bias.begin() + columns.end, T(0));
    if (unit_ != 0) return;
    for (ptrdiff_t i = 0; i < rows_.count(); ++i) {
      const ptrdiff_t p = rows_.position(i), n = order_.sequence(p);
      for (int state = 0; state < cell_.states; ++state) {
        const T* from = state_row(call_.d_final[state], state, p, shared_.zeros.data());
        std::copy_n(from, sizes_.state(state), carry_row(state, p));
      }
      if (d_in_.data && !reverse_)
        for (ptrdiff_t t = order_.length(p); t < call_.steps; ++t) std::fill_n(d_in_.row(t, n), weights_->input, T(0));
    }
  }

  T* carry_row(int state, ptrdiff_t position) const {
    return shared_.carry[state].data() + position * sizes_.state(state);
  }
  T* record_row(ptrdiff_t step, ptrdiff_t position) const {
    return records_ + (order_.start(step) + position) * network_.record_width();
  }
  T* gate_row(ptrdiff_t step, ptrdiff_t position) const {
    const ptrdiff_t chunk = step / shared_.chunk_steps;
    const ptrdiff_t row = order_.start(step) - order_.start(chunk * shared_.chunk_steps) + position;
    return shared_.d_gates.data() + ((chunk & 1) * shared_.chunk_rows + row) * shared_.gate_row;
  }
  const T* initial_row(int state, ptrdiff_t position) const {
    return state_row(call_.initial[state], state, position, shared_.zeros.data());
  }
  const T* prev_h_row(ptrdiff_t s, ptrdiff_t p) const {
    return s ? out_.row(time(p, s - 1), order_.sequence(p)) : initial_row(0, p);
  }

  void point_rows(ptrdiff_t s) {
    const ptrdiff_t active = rows_.active(s), later = rows_.active(s + 1);
    std::swap(d_gate_, d_gate_next_);
    T* const zeros = shared_.zeros.data();
    for (ptrdiff_t i = 0; i < active; ++i) {
      const ptrdiff_t p = rows_.position(i), n = order_.sequence(p), t = time(p, s);
      const size_t at = size_t(i);
      h_[at] = const_cast<T*>(out_.row(t, n));
      prev_h_[at] = const_cast<T*>(prev_h_row(s, p));
      record_[at] = record_row(s, p);
      d_gate_[at] = gate_row(s, p);
      d_output_[at] = d_out_.data ? const_cast<T*>(d_out_.row(t, n)) : zeros;
      carry_h_[at] = carry_row(0, p);
      // At a sequence's last step the gradient to its final h; before that, what the cell itself passes on, if it does.
      d_state_[at] = i >= later || cell_.carries_h ? carry_h_[at] : zeros;
      if (cell_.states > 1) {
        const ptrdiff_t column = cell_.state_record[1] * sizes_.hidden;
        state_[at] = record_[at] + column;
        prev_state_[at] = s ? record_row(s - 1, p) + column : const_cast<T*>(initial_row(1, p));
        carry_[at] = carry_row(1, p);
      }
    }
  }

  Slot<T> slot(Ref ref) {
    const ptrdiff_t column = ref.index * sizes_.hidden;
    switch (ref.where) {
      case Where::h:
        return {h_.data(), 0};
      case Where::prev_h:
        return {prev_h_.data(), 0};
      case Where::state:
        return {state_.data(), 0};
      case Where::prev_state:
        return {prev_state_.data(), 0};
      case Where::d_output:
        return {d_output_.data(), 0};
      case Where::d_state:
        return {d_state_.data(), 0};
      case Where::carry:
        return {ref.index == 0 ? carry_h_.data() : carry_.data(), 0};
      case Where::d_gate:
        return {d_gate_.data(), column};
      default:
        return {record_.data(), column};
    }
  }

  // d_gates . transposed weights for the segments of a stage.
  void set_product(StageArgs<T>& a, const T* const* rows, const Segment* segments,
                   const typename LayerTransposed<T>::Product& packed) const {
    const auto operand = [&](int i) -> Operand<T> {
      if (segments[i].count == 0) return {};
      return {rows, segments[i].column * sizes_.hidden, 1, network_.segment_width(segments[i])};
    };
    a.first = operand(0), a.first_panels = packed.segment[0].panels();
    a.second = operand(1), a.second_panels = packed.segment[1].panels();
  }

  void set_blocks(StageArgs<T>& a, const Blocks& blocks, ptrdiff_t step) const {
    Base::set_blocks(a, blocks, step);
    a.init = shared_.zeros.data();
  }

  // False: interrupted. Workers that share units learn it together; others at once, and meet behind the chunk.
  bool step(ptrdiff_t s) {
    point_rows(s);
    if (s > 0) prefetch(s - 1);
    const ptrdiff_t active = rows_.active(s), later = rows_.active(s + 1);
    for (int index = 0; index < cell_.backward_stages; ++index) {
      const BackwardStage& stage = cell_.backward[index];
      StageArgs<T> a;
      set_blocks(a, transposed_->stage[index].blocks, s);
      for (int i = 0; i < max_refs && stage.in[i].where != Where::none; ++i) a.in[i] = as_const(slot(stage.in[i]));
      for (int i = 0; i < max_refs && stage.out[i].where != Where::none; ++i) a.out[i] = slot(stage.out[i]);
      const auto run = network_.kernels().stage[int(stage.id)][0];
      const bool next = stage.operand == Where::d_gate_next;
      set_product(a, next ? d_gate_next_.data() : d_gate_.data(), stage.segments, transposed_->stage[index]);
      a.rows = next ? later : active;
      if (a.rows) run(a);
      if (a.rows < active) {  // sequences that end at this step have no step after
        const ptrdiff_t done = a.rows;
        for (auto& in : a.in) in.rows += in.rows ? done : 0;
        for (auto& out : a.out) out.rows += out.rows ? done : 0;
        a.first = a.second = {};
        a.rows = active - done;
        run(a);
      }
      if (shared_.split.units > 1 && !shared_.team.wait(id_)) return false;
    }
    return shared_.split.units > 1 || !shared_.interrupt.stopped();
  }

  void prefetch(ptrdiff_t s) const {
    const ptrdiff_t width = network_.record_width() * ptrdiff_t(sizeof(T));
    for (ptrdiff_t i = 0; i < rows_.active(s); ++i) {
      const char* row = reinterpret_cast<const char*>(record_row(s, rows_.position(i)));
      for (ptrdiff_t b = 0; b < width; b += 64) __builtin_prefetch(row + b, 0, 2);
    }
  }

  // d_x = d_gates . W for the group's rows of a chunk. The reverse direction adds to what the other has left.
  void input_gradient(ptrdiff_t begin, ptrdiff_t end) {
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t i = 0; i < rows_.active(s); ++i, ++count) {
        const ptrdiff_t p = rows_.position(i);
        chunk_d_[size_t(count)] = gate_row(s, p);
        chunk_dx_[size_t(count)] = d_in_.row(time(p, s), order_.sequence(p));
      }
    StageArgs<T> a;
    set_blocks(a, transposed_->dx.blocks, 0);
    a.rows = count;
    const Segment all[max_segments] = {{0, 0, cell_.gates}, {}};
    set_product(a, chunk_d_.data(), all, transposed_->dx);
    a.out[0] = {chunk_dx_.data(), 0};
    a.in[0] = {const_cast<const T* const*>(chunk_dx_.data()), 0};
    const StageId id = reverse_ ? StageId::add : StageId::linear;
    if (count) network_.kernels().stage[int(id)][0](a);
  }

  // gradient += d_gates^T . operand over all rows of a chunk, for this worker's rows of the matrix.
  void outer(ptrdiff_t begin, ptrdiff_t end, T* gradient, const Segment& segment, ptrdiff_t width, ptrdiff_t offset) {
    const ptrdiff_t gates = network_.segment_width(segment);
    const Share share = my_share(gates);
    OuterArgs<T> a;
    a.rows = order_.start(end) - order_.start(begin);
    a.d = gate_row(begin, 0) + segment.column * sizes_.hidden, a.d_row = shared_.gate_row;
    a.j_begin = share.begin, a.j_end = share.end;
    a.operand = chunk_operand_.data(), a.operand_offset = offset;
    a.width = width;
    a.gradient = gradient + segment.gate * sizes_.hidden * width, a.gradient_row = width;
    a.panel = panel_.data();
    network_.kernels().outer(a);
  }

  template <class F>
  void point_operand(ptrdiff_t begin, ptrdiff_t end, const F& row) {
    ptrdiff_t count = 0;
    for (ptrdiff_t s = begin; s < end; ++s)
      for (ptrdiff_t p = 0; p < order_.active(s); ++p) chunk_operand_[size_t(count++)] = row(s, p);
  }

  void weight_gradients(ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t hidden = sizes_.hidden;
    point_operand(begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return in_.row(time(p, s), order_.sequence(p)); });
    outer(begin, end, d_params().of(Param::weight_ih), {0, 0, cell_.gates}, weights_->input, 0);

    // Runs of gates of weight_hh that multiply the same operand and lie side by side.
    for (int g = 0; g < cell_.gates;) {
      const Ref operand = cell_.r_operand[g];
      Segment run{cell_.r_column[g], g, 1};
      for (++g;
           g < cell_.gates && cell_.r_operand[g].where == operand.where && cell_.r_column[g] == run.column + run.count;
           ++g)
        ++run.count;
      const bool prev_h = operand.where == Where::prev_h;
      if (prev_h)
        point_operand(begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return prev_h_row(s, p); });
      else
        point_operand(begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return record_row(s, p); });
      outer(begin, end, d_params().of(Param::weight_hh), run, sizes_.output, prev_h ? 0 : operand.index * hidden);
    }
    if (cell_.projection) {
      point_operand(begin, end, [&](ptrdiff_t s, ptrdiff_t p) { return record_row(s, p); });
      outer(begin, end, d_params().of(Param::weight_hr), {cell_.columns, 0, 1}, hidden,
            cell_.projected_record * hidden);
    }
    if (d_params().of(Param::bias_ih) || d_params().of(Param::bias_hh)) {
      const Share columns = my_share(cell_.columns * hidden);
      network_.kernels().sum_rows(gate_row(begin, 0), shared_.gate_row, order_.start(end) - order_.start(begin),
                                  columns.begin, columns.end, shared_.bias.data());
    }
  }

  // Gradients to the initial states, and the sums that are the gradients to the biases.
  void finish() {
    const ptrdiff_t hidden = sizes_.hidden;
    if (id_ == 0)
      for (int g = 0; g < cell_.gates; ++g)
        for (const auto& [param, column] : {std::pair(Param::bias_ih, g), std::pair(Param::bias_hh, cell_.r_column[g])})
          if (T* to = d_params().of(param)) std::copy_n(shared_.bias.data() + column * hidden, hidden, to + g * hidden);

    // Through the product of the first step.
    const ptrdiff_t active = rows_.active(0);
    if (active) {
      for (ptrdiff_t i = 0; i < active; ++i) {
        const ptrdiff_t p = rows_.position(i);
        h_[size_t(i)] = state_row(call_.d_initial[0], 0, p);
        d_gate_[size_t(i)] = gate_row(0, p);
        d_state_[size_t(i)] = cell_.carries_h ? carry_row(0, p) : shared_.zeros.data();
      }
      StageArgs<T> a;
      set_blocks(a, transposed_->stage[0].blocks, 0);
      set_product(a, d_gate_.data(), cell_.backward[0].segments, transposed_->stage[0]);
      a.rows = active;
      a.in[0] = as_const({d_state_.data(), 0});
      a.out[0] = {h_.data(), 0};
      network_.kernels().stage[int(StageId::add)][0](a);
    }
    if (unit_ != 0) return;
    for (ptrdiff_t i = 0; i < rows_.count(); ++i) {
      const ptrdiff_t p = rows_.position(i);
      for (int state = i < active ? 1 : 0; state < cell_.states; ++state)
        std::copy_n(carry_row(state, p), sizes_.state(state), state_row(call_.d_initial[state], state, p));
    }
  }

  // Dropout behind `layer`, on the gradient that has come down to it.
  void drop(int layer) {
    const View<T> d = inner(shared_.d_inner, layer);
    for (ptrdiff_t i = unit_; i < rows_.count(); i += shared_.split.units) {
      const ptrdiff_t p = rows_.position(i), n = order_.sequence(p);
      for (ptrdiff_t t = 0; t < order_.length(p); ++t)
        apply_dropout(call_.dropout, layer, sizes_.layers, t, n, sizes_.width(), d.row(t, n), d.row(t, n));
      shared_.interrupt.poll(id_);
      if (shared_.interrupt.stopped()) return;
    }
  }

  Shared<T>& shared_;
  const BackwardCall<T>& call_;
  const int id_;

  // Of the layer and direction under way.
  View<const T> in_, out_, d_out_;
  View<T> d_in_;
  T* records_ = nullptr;
  const LayerTransposed<T>* transposed_ = nullptr;

  // Row pointers of the step under way, one for each of the group's sequences that still run ...
  Rows h_, prev_h_, record_, state_, prev_state_, d_output_, d_state_, carry_h_, carry_, d_gate_, d_gate_next_;
  // ... and of a chunk of steps: the operands of the weight gradients for all sequences, the others for the group's.
  std::vector<const T*> chunk_operand_, chunk_d_;
  Rows chunk_dx_;
  AlignedBuffer<T> panel_;  // of a weight gradient
};

}  // namespace

template <class T>
bool backward(const BackwardCall<T>& call, int threads) {
  call.network.prepare_backward();
  const Problem problem = describe(call.network, call.order, true);
  for (;;) {
    const Plan plan = plan_for(problem, threads);
    const Split& split = plan.split;
    Shared<T> shared(call, plan);
    std::vector<Worker<T>> workers;
    workers.reserve(size_t(split.threads()));
    for (int id = 0; id < split.threads(); ++id) workers.emplace_back(shared, id);
    const int got = parallel(split.threads(), [&](int id) { workers[size_t(id)].run(); });
    if (got == split.threads()) return !shared.interrupt.stopped();
    threads = got;
  }
}

template bool backward(const BackwardCall<float>&, int);
template bool backward(const BackwardCall<double>&, int);

}  // namespace pylstm
