#include "sampling.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "matmul.h"
#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

constexpr double none = -std::numeric_limits<double>::infinity();

// Numbers that are compared or added side by side, so that none waits for the one before.
constexpr ptrdiff_t lanes = 16;

// The largest number, NaN apart; the second is whether there is NaN.
template <class T>
struct Largest {
  T most = -std::numeric_limits<T>::infinity();
  bool nan = false;

  Largest(const T* z, ptrdiff_t count) {
    T each[lanes];
    unsigned wrong[lanes] = {};
    std::fill_n(each, lanes, most);
    ptrdiff_t i = 0;
    for (; i + lanes <= count; i += lanes)
      for (ptrdiff_t j = 0; j < lanes; ++j) {
        each[j] = z[i + j] > each[j] ? z[i + j] : each[j];
        wrong[j] |= unsigned(z[i + j] != z[i + j]);
      }
    for (; i < count; ++i) {
      each[0] = z[i] > each[0] ? z[i] : each[0];
      wrong[0] |= unsigned(z[i] != z[i]);
    }
    for (ptrdiff_t j = 0; j < lanes; ++j) most = std::max(most, each[j]), nan = nan || wrong[j];
  }
  bool finite() const { return !nan && most - most == 0; }
};

// What one worker needs for a row at a time.
template <class T>
class Sampler {
 public:
  Sampler(const Kernels<double>& kernels, const SampleCall<T>& call)
      : kernels_(kernels),
        call_(call),
        weights_(size_t(call.temperature > 0 ? call.symbols : 0)),
        copy_(call.top_k < call.symbols || call.top_p < 1 ? weights_.size() : 0) {}

  int64_t draw(ptrdiff_t row) {
    const T* const z = call_.logits.at(row, 0);
    if (call_.temperature == 0) {
      const ptrdiff_t at = std::find(z, z + call_.symbols, Largest<T>(z, call_.symbols).most) - z;
      return std::min(at, call_.symbols - 1);
    }
    const double most = double(Largest<T>(z, call_.symbols).most);
    for (ptrdiff_t i = 0; i < call_.symbols; ++i) {
      const double below = double(z[i]) - most;
      weights_[size_t(i)] = below <= 0 ? below : none;  // NaN is neither
    }
    if (call_.top_k < call_.symbols) keep(call_.top_k, least_of_top(), none);
    if (call_.temperature != 1)
      for (double& weight : weights_) weight /= call_.temperature;
    kernels_.exp(weights_.data(), weights_.data(), call_.symbols);
    if (call_.top_p < 1) keep_nucleus();
    return found(call_.chances[row]);
  }

 private:
  // The top_k-th of the weights.
  double least_of_top() {
    const auto begin = copy_.begin();
    if (call_.top_k > call_.symbols / 16) {
      std::copy(weights_.begin(), weights_.end(), begin);
      std::nth_element(begin, begin + (call_.top_k - 1), copy_.end(), std::greater<>());
      return begin[call_.top_k - 1];
    }
    // A heap of the largest so far, its least one first: few of the others pass it.
    const auto end = begin + call_.top_k;
    std::copy_n(weights_.begin(), call_.top_k, begin);
    std::make_heap(begin, end, std::greater<>());
    for (auto weight = weights_.begin() + call_.top_k; weight != weights_.end(); ++weight) {
      if (!(*weight > *begin)) continue;
      std::pop_heap(begin, end, std::greater<>());
      end[-1] = *weight;
      std::push_heap(begin, end, std::greater<>());
    }
    return *begin;
  }

  // All but `count` of the largest weights, the last of which is `least`, become `nothing`.
  void keep(ptrdiff_t count, double least, double nothing) {
    ptrdiff_t equal = count;
    for (const double weight : weights_) equal -= weight > least;
    for (double& weight : weights_)
      if (!(weight > least) && !(weight == least && equal-- > 0)) weight = nothing;
  }

  void keep_nucleus() {
    double sum = 0;
    for (const double weight : weights_) sum += weight;
    std::copy(weights_.begin(), weights_.end(), copy_.begin());
    std::make_heap(copy_.begin(), copy_.end());
    ptrdiff_t count = 0;
    double reached = 0, least = 0;
    for (auto end = copy_.end(); end != copy_.begin() && (count == 0 || reached < call_.top_p * sum); --end, ++count) {
      std::pop_heap(copy_.begin(), end);
      least = *(end - 1), reached += least;
    }
    keep(count, least, 0);
  }

  // A symbol has what lies between the sum of the weights before it and the sum with it.
  int64_t found(double chance) const {
    const auto count = ptrdiff_t(weights_.size());
    const auto block_sum = [&](ptrdiff_t begin) {
      double each[4] = {};
      const ptrdiff_t end = std::min(begin + lanes, count);
      for (ptrdiff_t i = begin; i < end; ++i) each[i % 4] += weights_[size_t(i)];
      return (each[0] + each[1]) + (each[2] + each[3]);
    };
    double sum = 0;
    for (ptrdiff_t i = 0; i < count; i += lanes) sum += block_sum(i);
    const double wanted = chance * sum;
    double before = 0;
    ptrdiff_t last = 0;  // the last one that can be drawn at all
    for (ptrdiff_t i = 0; i < count; i += lanes) {
      const double own = block_sum(i);
      if (!(before + own > wanted)) {
        if (own > 0) last = i;
        before += own;
        continue;
      }
      last = i;
      break;
    }
    int64_t symbol = last;
    for (ptrdiff_t i = last; i < std::min(last + lanes, count); ++i) {
      if (!(weights_[size_t(i)] > 0)) continue;
      symbol = i, before += weights_[size_t(i)];
      if (before > wanted) break;
    }
    return symbol;
  }

  const Kernels<double>& kernels_;
  const SampleCall<T>& call_;
  std::vector<double> weights_, copy_;
};

// Of a symbol; more where they have to be put in order.
template <class T>
double symbol_cycles(const SampleCall<T>& call) {
  if (call.temperature == 0) return 1.5;
  return 6 + (call.top_k < call.symbols ? 15 : 0) + (call.top_p < 1 ? 30 : 0);
}

}  // namespace

template <class T>
ptrdiff_t first_without_chances(const SampleCall<T>& call) {
  for (ptrdiff_t row = 0; row < call.rows; ++row)
    if (!Largest<T>(call.logits.at(row, 0), call.symbols).finite()) return row;
  return call.rows;
}

template <class T>
bool sample(const Kernels<double>& kernels, const SampleCall<T>& call, int threads) {
  const double cycles = double(call.rows) * double(call.symbols) * symbol_cycles(call);
  for (int count = int(std::min<ptrdiff_t>(useful_threads(cycles, threads), std::max<ptrdiff_t>(1, call.rows)));;) {
    Interrupt interrupt(call.interrupted, cycles / count, double(call.rows) / count, count);
    std::vector<Sampler<T>> samplers(size_t(count), Sampler<T>(kernels, call));
    const int got = parallel(count, [&](int id) {
      const Share share(call.rows, id, count);
      for (ptrdiff_t row = share.begin; row < share.end && !interrupt.stopped(); ++row) {
        call.drawn[row] = samplers[size_t(id)].draw(row);
        interrupt.poll(id);
      }
    });
    if (got == count) return !interrupt.stopped();
    count = got;
  }
}

template ptrdiff_t first_without_chances(const SampleCall<float>&);
template ptrdiff_t first_without_chances(const SampleCall<double>&);
template bool sample(const Kernels<double>&, const SampleCall<float>&, int);
template bool sample(const Kernels<double>&, const SampleCall<double>&, int);

}  // namespace pylstm
