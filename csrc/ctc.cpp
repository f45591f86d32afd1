#include "ctc.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "matmul.h"
#include "memory.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

constexpr double none = -std::numeric_limits<double>::infinity();
constexpr ptrdiff_t line = 8;  // numbers of a cache line

// The states of a path: a blank before, between and behind the labels. They are odd in number, so that there is one
// more in the lines computed with. Rows of states lie one behind the other, and the two before a row's first state have
// no chance.
ptrdiff_t states_of(ptrdiff_t labels) { return 2 * labels + 1; }
ptrdiff_t computed_of(ptrdiff_t labels) { return ceil_div(states_of(labels), line) * line; }
ptrdiff_t row_of(ptrdiff_t labels) { return ceil_div(states_of(labels) + 2, line) * line; }

// Steps that the targets of sequence n need: one each, and one between two that are equal.
template <class T>
ptrdiff_t steps_needed(const CtcCall<T>& call, ptrdiff_t n) {
  const int64_t* const begin = call.labels + call.starts[n];
  const int64_t* const end = call.labels + call.starts[n + 1];
  ptrdiff_t count = end - begin;
  for (const int64_t* label = begin; label + 1 < end; ++label) count += label[0] == label[1];
  return count;
}

// Of the sequences that paths are computed for, the largest number of labels, and what is kept of all steps.
struct Sizes {
  ptrdiff_t labels = 0, alpha = 0, log_p = 0;
};

// What one worker needs for a sequence at a time.
template <class T>
class Paths {
 public:
  Paths(const Kernels<T>& kernels, const Kernels<double>& of_states, const CtcCall<T>& call, const Sizes& most)
      : kernels_(kernels),
        of_states_(of_states),
        call_(call),
        alpha_(line + (call.d_logits ? most.alpha : 2 * row_of(most.labels))),
        log_p_(call.d_logits ? most.log_p : most.labels + 1),
        beta_(row_of(most.labels) + line),
        skip_(row_of(most.labels) + line),
        label_(row_of(most.labels)),
        before_(row_of(most.labels) + line),
        chance_(row_of(most.labels)),
        p_(most.labels + 1),
        sum_(most.labels + 1),
        slot_(size_t(most.labels)) {
    classes_.reserve(size_t(most.labels) + 1);
  }

  // The loss of sequence n, and its gradient.
  void run(ptrdiff_t n, int id, Interrupt& interrupt) {
    const ptrdiff_t length = call_.lengths[n], labels = call_.starts[n + 1] - call_.starts[n];
    const double scale = call_.scale[n];
    if (call_.d_logits) std::fill_n(d_row(n, length), (call_.steps - length) * call_.classes, T(0));
    call_.loss[n] = 0;
    if (scale != 0 && length < steps_needed(call_, n)) {
      call_.loss[n] = -none;
    } else if (scale != 0) {
      take(n, labels);
      const double total = forward(n, length, scale, id, interrupt);
      if (interrupt.stopped()) return;
      call_.loss[n] = 0 - total;
      if (call_.d_logits && total - total == 0) {
        backward(n, length, total, scale, id, interrupt);
        return;
      }
    }
    const bool zero = call_.loss[n] == 0 || (call_.zero_infinity && call_.loss[n] == -none);
    if (zero) call_.loss[n] = 0;
    if (call_.d_logits) fill(n, length, zero ? T(0) : std::numeric_limits<T>::quiet_NaN(), id, interrupt);
  }

 private:
  T* d_row(ptrdiff_t n, ptrdiff_t t) const { return call_.d_logits + (n * call_.steps + t) * call_.classes; }
  double* alpha(ptrdiff_t t) const { return alpha_.data() + line + (call_.d_logits ? t : t % 2) * row_; }
  double* log_p(ptrdiff_t t) const { return log_p_.data() + (call_.d_logits ? t * ptrdiff_t(classes_.size()) : 0); }

  void fill(ptrdiff_t n, ptrdiff_t length, T value, int id, Interrupt& interrupt) const {
    for (ptrdiff_t t = 0; t < length && !interrupt.stopped(); ++t) {
      std::fill_n(d_row(n, t), call_.classes, value);
      interrupt.poll(id);
    }
  }

  // The targets of sequence n: their classes, each once and the blank first, and where a path may skip a blank.
  void take(ptrdiff_t n, ptrdiff_t labels) {
    const int64_t* const label = call_.labels + call_.starts[n];
    classes_.assign(label, label + labels);
    std::sort(classes_.begin(), classes_.end());
    classes_.erase(std::unique(classes_.begin(), classes_.end()), classes_.end());
    for (ptrdiff_t i = 0; i < labels; ++i)
      slot_[size_t(i)] = 1 + (std::lower_bound(classes_.begin(), classes_.end(), label[i]) - classes_.begin());
    classes_.insert(classes_.begin(), call_.blank);
    states_ = states_of(labels), computed_ = computed_of(labels), row_ = row_of(labels);
    double* const skip = skip_.data();
    std::fill_n(skip, row_ + line, none);
    for (ptrdiff_t i = 0; i < labels; ++i)
      if (i == 0 || label[i] != label[i - 1]) skip[2 * i + 1] = 0;
    skip[states_] = 0;  // a path ends there, from either of the last two states
    std::fill_n(label_.data(), row_, none);
    std::fill_n(alpha_.data(), line, none);
  }

  // The log probability of the label of every state.
  void spread(const double* log_p) const {
    double* const to = label_.data();
    for (ptrdiff_t s = 0; s < states_; s += 2) to[s] = log_p[0];
    for (ptrdiff_t s = 1; s < states_; s += 2) to[s] = log_p[slot_[size_t(s / 2)]];
  }

  // The log probability of all paths; alpha; of the gradient the part that all classes have. Paths begin at state -1,
  // before the first step, and end at the state behind the last one.
  double forward(ptrdiff_t n, ptrdiff_t length, double scale, int id, Interrupt& interrupt) const {
    std::fill_n(before_.data(), row_ + line, none);
    before_.data()[line - 1] = 0;
    CtcStepArgs step;
    step.states = computed_, step.skip = skip_.data(), step.label = label_.data();
    step.from = before_.data() + line;
    CtcRowArgs<T> softmax;
    softmax.classes = call_.classes, softmax.scale = scale;
    for (ptrdiff_t t = 0; t < length && !interrupt.stopped(); ++t) {
      const T* const z = call_.logits.row(t, n);
      softmax.logits = z;
      if (call_.d_logits) softmax.d_logits = d_row(n, t);
      const double log_sum = kernels_.ctc.row(softmax);
      double* const to = log_p(t);
      for (size_t i = 0; i < classes_.size(); ++i) to[i] = double(z[classes_[i]]) - log_sum;
      spread(to);
      step.to = alpha(t);
      std::fill_n(step.to + computed_, row_ - computed_, none);
      of_states_.ctc.forward(step);
      step.from = step.to;
      interrupt.poll(id);
    }
    std::fill_n(label_.data(), states_, 0.0), label_.data()[states_] = 0;
    step.to = chance_.data();
    of_states_.ctc.forward(step);
    label_.data()[states_] = none;
    return chance_.data()[states_];
  }

  // The rest of the gradient, that of the classes in the targets: softmax less the chance of being in one's states.
  void backward(ptrdiff_t n, ptrdiff_t length, double total, double scale, int id, Interrupt& interrupt) const {
    std::fill_n(beta_.data(), row_ + line, none);
    beta_.data()[states_] = 0;
    CtcStepArgs step;
    step.states = computed_, step.skip = skip_.data(), step.label = label_.data();
    step.beta = beta_.data(), step.to = chance_.data(), step.total = total;
    const auto count = ptrdiff_t(classes_.size());
    double *const sum = sum_.data(), *const p = p_.data();
    for (ptrdiff_t t = length - 1; t >= 0 && !interrupt.stopped(); --t) {
      spread(log_p(t));
      step.from = alpha(t);
      of_states_.ctc.backward(step);
      const double* const chance = chance_.data();
      std::fill_n(sum, count, 0.0);
      double blank = chance[0];
      for (ptrdiff_t s = 1; s < states_; s += 2) {
        sum[slot_[size_t(s / 2)]] += chance[s];
        blank += chance[s + 1];
      }
      sum[0] = blank;
      of_states_.exp(log_p(t), p, count);
      T* const d = d_row(n, t);
      for (ptrdiff_t i = 0; i < count; ++i) d[classes_[size_t(i)]] = T(scale * (p[i] - sum[i]));
      interrupt.poll(id);
    }
  }

  const Kernels<T>& kernels_;
  const Kernels<double>& of_states_;
  const CtcCall<T>& call_;
  // [step][state], where a gradient is wanted of every step; [step][class of the targets]
  AlignedBuffer<double> alpha_, log_p_;
  // Of states: beta, skip, the label's log probability, alpha before the first step, the chance of being there.
  AlignedBuffer<double> beta_, skip_, label_, before_, chance_;
  AlignedBuffer<double> p_, sum_;  // of classes of the targets
  std::vector<ptrdiff_t> slot_;    // of every label, its place in classes_
  std::vector<int64_t> classes_;
  ptrdiff_t states_ = 0, computed_ = 0, row_ = 0;  // of the sequence at hand
};

}  // namespace

template <class T>
bool ctc(const Kernels<T>& kernels, const Kernels<double>& of_states, const CtcCall<T>& call, int threads) {
  // Worker 0, who hears of signals, has the longest one.
  std::vector<ptrdiff_t> order(size_t(call.batch));
  std::iota(order.begin(), order.end(), ptrdiff_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](ptrdiff_t a, ptrdiff_t b) { return call.lengths[a] > call.lengths[b]; });
  Sizes most;
  double cycles = 0, rows = 0;
  for (ptrdiff_t n = 0; n < call.batch; ++n) {
    const ptrdiff_t labels = call.starts[n + 1] - call.starts[n], length = call.lengths[n];
    rows += 2 * double(length);
    cycles += double(length) * (150 + double(call.classes) * 16 / double(kernels.lanes));
    if (call.scale[n] == 0 || length < steps_needed(call, n)) continue;
    cycles += double(length) * 15 * double(row_of(labels));
    most.labels = std::max(most.labels, labels);
    most.alpha = std::max(most.alpha, checked_product({length, row_of(labels)}));
    most.log_p = std::max(most.log_p, checked_product({length, labels + 1}));
  }
  for (int count = int(std::min<ptrdiff_t>(useful_threads(cycles, threads), std::max<ptrdiff_t>(1, call.batch)));;) {
    Interrupt interrupt(call.interrupted, cycles / count, rows / count, count);
    std::vector<Paths<T>> paths;
    paths.reserve(size_t(count));
    for (int i = 0; i < count; ++i) paths.emplace_back(kernels, of_states, call, most);
    const int got = parallel(count, [&](int id) {
      for (ptrdiff_t i = id; i < call.batch && !interrupt.stopped(); i += count)
        paths[size_t(id)].run(order[size_t(i)], id, interrupt);
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template bool ctc(const Kernels<float>&, const Kernels<double>&, const CtcCall<float>&, int);
template bool ctc(const Kernels<double>&, const Kernels<double>&, const CtcCall<double>&, int);

}  // namespace pylstm
