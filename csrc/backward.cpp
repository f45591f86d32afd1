// The backward pass: layers and directions, chunks of steps, and what stands at both ends of them.
#include <memory>

#include "backward_step.h"
#include "dropout.h"
#include "input_gradient.h"
#include "kept_plans.h"
#include "symbol_gradients.h"
#include "weight_gradients.h"

namespace pylstm {
namespace {

template <class T>
class BackwardWorker {
 public:
  BackwardWorker(BackwardShared<T>& shared, int id)
      : shared_(shared),
        at_(shared, id),
        step_(at_),
        input_gradient_(at_),
        weight_gradients_(at_),
        symbol_gradients_(at_) {}

  void run() {
    const Sizes& sizes = at_.sizes;
    for (int layer = sizes.layers - 1; layer >= 0; --layer) {
      for (int d = 0; d < sizes.directions; ++d)
        if (!run_direction(layer, d)) return;
      if (layer > 0 && !shared_.call.saved.dropped.empty()) {
        drop(layer - 1);
        if (!meet()) return;
      }
    }
  }

 private:
  bool meet() { return shared_.team.wait(at_.id); }
  void poll() { shared_.interrupt.poll(at_.id); }

  // False: the call ends early, for all workers alike.
  bool run_direction(int layer, int direction) {
    at_.enter(layer, direction);
    step_.enter(at_);
    if (shared_.call.need_params) weight_gradients_.start(at_);
    if (at_.by_symbol) symbol_gradients_.start(at_);
    if (at_.unit == 0) start();
    if (!meet()) return false;

    const ptrdiff_t steps = at_.order.steps(), chunks = ceil_div(steps, shared_.chunk_steps);
    for (ptrdiff_t chunk = chunks - 1; chunk >= 0; --chunk) {
      const ptrdiff_t begin = chunk * shared_.chunk_steps, end = std::min(begin + shared_.chunk_steps, steps);
      for (ptrdiff_t s = end - 1; s >= begin && step_.run(at_, s); --s) poll();
      if (shared_.whole_slices) {
        if (shared_.interrupt.stopped()) break;  // the others hear of it behind the last chunk
      } else if (!meet()) {
        return false;
      }
      if (at_.d_x.data) input_gradient_.run(at_, begin, end);
      poll();
      if (shared_.call.need_params) weight_gradients_.add(at_, begin, end);
      if (at_.by_symbol) symbol_gradients_.add(at_, begin, end);
      poll();
    }
    if (!meet()) return false;
    if (at_.by_symbol) symbol_gradients_.finish(at_, weight_gradients_);
    if (shared_.call.need_params) weight_gradients_.finish(at_);
    step_.initial(at_);
    if (at_.unit == 0) finish();
    return meet();
  }

  // The gradients to the final states go into `carry`; zeros behind the end of every sequence.
  void start() {
    for (ptrdiff_t i = 0; i < at_.rows.count(); ++i) {
      const ptrdiff_t p = at_.rows.position(i), n = at_.order.sequence(p);
      for (int state = 0; state < at_.cell.states.count; ++state) {
        const T* from = at_.state_row(shared_.call.d_final[state], state, p, shared_.zeros.data());
        std::copy_n(from, at_.network.state(state), at_.carry_row(state, p));
      }
      if (at_.d_x.data && !at_.reverse)
        for (ptrdiff_t t = at_.order.length(p); t < shared_.call.steps; ++t)
          std::fill_n(at_.d_x.row(t, n), at_.weights->input, T(0));
    }
  }

  // Gradients to the initial states, but that to h where a step has been taken: BackwardStep::initial.
  void finish() {
    const ptrdiff_t active = at_.rows.active(0);
    for (ptrdiff_t i = 0; i < at_.rows.count(); ++i) {
      const ptrdiff_t p = at_.rows.position(i);
      for (int state = i < active ? 1 : 0; state < at_.cell.states.count; ++state)
        std::copy_n(at_.carry_row(state, p), at_.network.state(state),
                    at_.state_row(shared_.call.d_initial[state], state, p));
    }
  }

  // Dropout behind `layer`, on the gradient that has come down to it.
  void drop(int layer) {
    const View<T> d = at_.inner(shared_.d_inner, layer);
    for (ptrdiff_t i = at_.unit; i < at_.rows.count(); i += shared_.split.units) {
      const ptrdiff_t p = at_.rows.position(i), n = at_.order.sequence(p);
      for (ptrdiff_t t = 0; t < at_.order.length(p); ++t)
        apply_dropout(shared_.call.dropout, layer, at_.sizes.layers, t, n, at_.sizes.width(), d.row(t, n), d.row(t, n));
      poll();
      if (shared_.interrupt.stopped()) return;
    }
  }

  BackwardShared<T>& shared_;
  BackwardLayer<T> at_;
  BackwardStep<T> step_;
  InputGradient<T> input_gradient_;
  WeightGradients<T> weight_gradients_;
  SymbolGradients<T> symbol_gradients_;
};

}  // namespace

template <class T>
bool backward(const BackwardCall<T>& call, int threads) {
  call.network.prepare_backward();
  const Problem problem = describe(call.network, call.order, true, call.symbols.symbols);
  for (;;) {
    const Plan plan = plan_for(problem, threads);
    const Split& split = plan.split;
    BackwardShared<T> shared(call, plan);
    std::vector<BackwardWorker<T>> workers;
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
