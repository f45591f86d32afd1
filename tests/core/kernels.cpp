// The core without Python: every cell, forward and backward, on every instruction set of this build and machine, each
// compared with the baseline. Prints a hash of all bits per instruction set, so that machines can be compared, too.
// `cmake --workflow --preset core` builds and runs it here, `--preset neon` for AArch64 in an emulator.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "adam.h"
#include "ctc.h"
#include "dispatch.h"
#include "kept_plans.h"
#include "sequence.h"

namespace pylstm {
extern const IsaKernels kernels_baseline;
}  // namespace pylstm

using namespace pylstm;

namespace {

template <class T>
using Array = std::vector<T>;

class Hash {  // FNV-1a
 public:
  template <class T>
  void add(const Array<T>& values) {
    for (const T& value : values) {
      unsigned char bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof(T));
      for (unsigned char byte : bytes) state_ = (state_ ^ byte) * 1099511628211ull;
    }
  }
  unsigned long long value() const { return state_; }

 private:
  unsigned long long state_ = 14695981039346656037ull;
};

// Normal-ish numbers that are the same on every machine: std::normal_distribution is not.
template <class T>
Array<T> random_array(std::mt19937& rng, ptrdiff_t n, double scale) {
  Array<T> values(static_cast<size_t>(n));
  for (T& v : values) v = T(scale * (double(rng()) / 4294967296.0 - 0.5) * 3);
  return values;
}

struct Shape {
  ptrdiff_t steps, batch, input, hidden, output;
  int layers, directions;
  bool ragged;
};

// For a central difference: everything that has a gradient is moved along one random direction.
struct Slope {
  double by = 0, loss = 0, gradient = 0;  // gradient: by the backward pass, in that direction
};

// All arrays that the two passes leave, with weights of one of the storage types.
template <class T>
std::vector<Array<T>> run(const IsaKernels& isa, int storage, const CellSpec& cell, const Shape& s, int threads,
                          Slope& slope) {
  std::mt19937 rng(7), way(8);
  std::vector<Array<T>> directions;
  const auto move = [&](Array<T>& values) {
    directions.push_back(random_array<T>(way, ptrdiff_t(values.size()), 1));
    for (size_t i = 0; i < values.size(); ++i) values[i] += T(slope.by) * directions.back()[i];
  };
  const Sizes sizes{s.input, s.hidden, cell.projects ? s.output : s.hidden, s.layers, s.directions};
  std::vector<std::vector<Array<T>>> weights, gradients;
  std::vector<Params<const T>> params;
  std::vector<Params<T>> d_params;
  for (int i = 0; i < s.layers * s.directions; ++i) {
    weights.emplace_back(), gradients.emplace_back(), params.emplace_back(), d_params.emplace_back();
    for (int p = 0; p < cell.parameters.count; ++p) {
      const ParamSpec& spec = cell.parameters[p];
      const ptrdiff_t count =
          spec.blocks * sizes.of(spec.rows) * sizes.of(spec.columns, sizes.layer_input(i / s.directions));
      weights.back().push_back(random_array<T>(rng, count, 0.5 / std::sqrt(double(s.hidden))));
      move(weights.back().back());
      gradients.back().emplace_back(size_t(count));
      params.back().data[p] = weights.back().back().data();
      d_params.back().data[p] = gradients.back().back().data();
    }
  }
  std::vector<double> constants;
  for (const ConstantSpec& constant : cell.constants) constants.push_back(constant.example);
  const Network<T> network(cell, sizes, isa.of<T>(), isa.of<T>().products[storage], params, constants);
  std::vector<int64_t> lengths;
  for (ptrdiff_t n = 0; n < s.batch; ++n) lengths.push_back(n == 0 ? s.steps : int64_t(rng() % size_t(s.steps + 1)));
  const Order order(s.ragged ? lengths.data() : nullptr, s.steps, s.batch);

  const ptrdiff_t width = sizes.width(), states = ptrdiff_t(s.layers) * s.directions * s.batch;
  auto x = random_array<T>(rng, s.steps * s.batch * s.input, 1);
  move(x);
  const auto d_output = random_array<T>(rng, s.steps * s.batch * width, 1);
  Array<T> output(size_t(s.steps * s.batch * width)), d_x(x.size());
  std::vector<Array<T>> initial, final, d_final, d_initial;
  for (int i = 0; i < cell.states.count; ++i) {
    initial.push_back(random_array<T>(rng, states * network.state(i), 1));
    move(initial.back());
    d_final.push_back(random_array<T>(rng, states * network.state(i), 1));
    final.emplace_back(initial.back().size()), d_initial.emplace_back(initial.back().size());
  }
  ForwardCall<T> call{.network = network, .order = order, .steps = s.steps, .training = true, .dropout = {0.3, 5, 1}};
  call.x = {x.data(), s.batch * s.input, s.input}, call.output = {output.data(), s.batch * width, width};
  for (int i = 0; i < cell.states.count; ++i)
    call.initial[i] = initial[size_t(i)].data(), call.final[i] = final[size_t(i)].data();
  ForwardPass<T> pass(call, threads);
  bool done = pass.run();
  const Saved<T> saved = pass.take_saved();
  BackwardCall<T> back{.network = network, .order = order, .steps = s.steps, .saved = saved, .dropout = call.dropout};
  back.x = call.x, back.output = {output.data(), s.batch * width, width};
  back.d_output = {d_output.data(), s.batch * width, width}, back.d_x = {d_x.data(), s.batch * s.input, s.input};
  back.d_params = d_params;
  for (int i = 0; i < cell.states.count; ++i) {
    const size_t at = size_t(i);
    back.initial[i] = initial[at].data(), back.d_final[i] = d_final[at].data(),
    back.d_initial[i] = d_initial[at].data();
  }
  done = backward(back, threads) && done;

  const auto dot = [](const Array<T>& a, const Array<T>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
    return sum;
  };
  slope.loss = dot(output, d_output), slope.gradient = 0;
  size_t at = 0;
  for (const auto& own : gradients)
    for (const auto& gradient : own) slope.gradient += dot(gradient, directions[at++]);
  slope.gradient += dot(d_x, directions[at++]);
  for (size_t i = 0; i < initial.size(); ++i) {
    slope.loss += dot(final[i], d_final[i]);
    slope.gradient += dot(d_initial[i], directions[at++]);
  }

  const ptrdiff_t gates = cell.gates.count * s.hidden;
  const auto steps_of_adam = random_array<T>(rng, gates * s.input, 1);  // a computed zero may have either sign
  AdamStep<T> step{1, T(INFINITY), 1, 0, T(0.9), T(0.1), T(0.999), T(0.03), T(1e-8), T(1e-3)};
  Array<T> moved(weights[0][0].size()), mean(moved.size()), square(moved.size());
  adam(isa.of<T>(),
       {moved.data(), weights[0][0].data(), mean.data(), square.data(), gates, s.input, steps_of_adam.data()}, step,
       threads);

  std::vector<Array<T>> all{output, d_x, moved};
  for (auto* some : {&final, &d_initial}) all.insert(all.end(), some->begin(), some->end());
  for (auto& own : gradients) all.insert(all.end(), own.begin(), own.end());
  if (!done) all.clear();
  return all;
}

// The largest difference, relative to the largest number of its array, or to a part of the largest of all: terms that
// cancel leave small numbers behind.
template <class T>
double difference(const std::vector<Array<T>>& a, const std::vector<Array<T>>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  const auto largest = [](const Array<T>& values) {
    double most = 0;
    for (const T value : values) most = std::max(most, std::fabs(double(value)));
    return most;
  };
  double all = 0, worst = 0;
  for (const auto& values : a) all = std::max(all, largest(values));
  for (size_t i = 0; i < a.size(); ++i) {
    const double scale = std::max(largest(a[i]), 0.02 * all);
    for (size_t k = 0; k < a[i].size(); ++k) {
      const double apart = std::fabs(double(a[i][k]) - double(b[i][k])) / scale;
      if (!(apart <= worst)) worst = apart;  // NaN is taken
    }
  }
  return worst;
}

const Shape shapes[] = {
    {7, 5, 9, 13, 6, 2, 2, true},   {3, 1, 1, 1, 1, 1, 1, false},      {5, 12, 4, 33, 20, 1, 1, false},
    {4, 2, 70, 64, 17, 2, 1, true}, {6, 19, 16, 100, 50, 1, 2, false},
};

// The gradients of every cell in float64 against central differences.
bool right_gradients(const IsaKernels& isa) {
  double worst = 0;
  for (const CellSpec* cell = begin_cells(); cell != end_cells(); ++cell)
    for (const Shape& shape : shapes) {
      if (cell->projects && shape.output >= shape.hidden) continue;
      double least = INFINITY;
      for (double eps : {1e-6, 1e-7}) {  // a corner of a function may lie between two points; nearer ones miss it
        Slope here, ahead{eps}, behind{-eps};
        for (Slope* slope : {&here, &ahead, &behind}) run<double>(isa, 0, *cell, shape, 2, *slope);
        const double expected = (ahead.loss - behind.loss) / (2 * eps);
        const double apart = std::fabs(here.gradient - expected) / (1 + std::fabs(expected));
        if (apart < least) least = apart;
        if (least < 1e-6) break;
        std::printf("%s: gradient %.9g, difference %.9g\n", cell->name.text, here.gradient, expected);
      }
      worst = std::max(worst, least);
    }
  std::printf("gradients: apart from central differences by %.1e\n", worst);
  return worst < 1e-6;
}

// The bits of every cell however a call is cut up; the cost model would not share calls as small as these.
bool same_bits(const IsaKernels& isa) {
  bool same = true;
  for (const CellSpec* cell = begin_cells(); cell != end_cells(); ++cell)
    for (const Shape& shape : shapes) {
      if (cell->projects && shape.output >= shape.hidden) continue;
      Slope slope;
      force_plan({true, {1, 1, 1}, 0});
      const auto expected = run<float>(isa, 0, *cell, shape, 1, slope);
      for (const Split& split : {Split{1, 2, 1}, Split{1, 3, 1}, Split{2, 2, 1}, Split{1, 2, 2}}) {
        force_plan({true, split, 8});
        const auto got = run<float>(isa, 0, *cell, shape, 4, slope);
        bool equal = got.size() == expected.size() && !got.empty();
        for (size_t i = 0; equal && i < got.size(); ++i)
          equal = std::memcmp(got[i].data(), expected[i].data(), got[i].size() * sizeof(float)) == 0;
        if (!equal)
          std::printf("%s %td x %td: other bits on %d x %d x %d\n", cell->name.text, shape.steps, shape.batch,
                      split.rows, split.units, split.directions);
        same = same && equal;
      }
    }
  force_plan({});
  return same;
}

template <class T>
bool compare(const std::vector<const IsaKernels*>& isas, int storage, std::vector<Hash>& hashes, double bound) {
  double worst = 0;
  for (const CellSpec* cell = begin_cells(); cell != end_cells(); ++cell)
    for (const Shape& shape : shapes) {
      if (cell->projects && shape.output >= shape.hidden) continue;
      Slope slope;
      const auto first = run<T>(*isas[0], storage, *cell, shape, 1, slope);
      for (size_t i = 0; i < isas.size(); ++i) {
        const auto got = run<T>(*isas[i], storage, *cell, shape, int(1 + i % 3), slope);
        for (const auto& array : got) hashes[i].add(array);
        const double apart = difference(first, got);
        if (apart > bound)
          std::printf("%s %s %td x %td x %td -> %td: %.1e\n", cell->name.text, isas[i]->name, shape.steps, shape.batch,
                      shape.input, shape.hidden, apart);
        worst = std::max(worst, apart);
      }
    }
  std::printf("%s: apart by %.1e of the largest, %.0e allowed\n", isas[0]->of<T>().products[storage].name, worst,
              bound);
  return worst <= bound;
}

// The CTC loss and its gradient: classes on both sides of vectors' edges, targets with repeats, too long and empty.
template <class T>
std::vector<Array<T>> run_ctc(const IsaKernels& isa, int threads) {
  std::vector<Array<T>> all;
  for (const ptrdiff_t classes : {2, 7, 12, 33, 100}) {
    std::mt19937 rng(unsigned(classes) + 1);
    constexpr ptrdiff_t steps = 23, batch = 5;
    const auto logits = random_array<T>(rng, batch * steps * classes, 4);
    const std::vector<int64_t> lengths{steps, 9, 20, 4, 17}, starts{0, 6, 9, 9, 14, 20};
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < starts.back(); ++i) labels.push_back(1 + int64_t(rng()) % (classes - 1));
    const std::vector<double> scale{1, 0.5, 2, 1, 1};
    std::vector<double> loss(batch);
    Array<T> d_logits(logits.size());
    CtcCall<T> call;
    call.steps = steps, call.batch = batch, call.classes = classes;
    call.logits = {logits.data(), classes, steps * classes};
    call.lengths = lengths.data(), call.labels = labels.data(), call.starts = starts.data(), call.scale = scale.data();
    call.zero_infinity = true, call.loss = loss.data(), call.d_logits = d_logits.data();
    if (!ctc(isa.of<T>(), isa.of<double>(), call, threads)) return {};
    all.emplace_back(loss.begin(), loss.end());
    all.push_back(d_logits);
  }
  return all;
}

template <class T>
bool compare_ctc(const std::vector<const IsaKernels*>& isas, std::vector<Hash>& hashes, double bound) {
  const auto first = run_ctc<T>(*isas[0], 1);
  double worst = 0;
  bool same = true;
  for (size_t i = 0; i < isas.size(); ++i) {
    const auto got = run_ctc<T>(*isas[i], int(1 + i % 3)), alone = run_ctc<T>(*isas[i], 1);
    for (const auto& array : got) hashes[i].add(array);
    worst = std::max(worst, difference(first, got));
    same = same && got == alone && (i < 2 || got == run_ctc<T>(*isas[1], 1));  // all but the baseline fuse
  }
  std::printf("ctc: apart by %.1e of the largest, %.0e allowed%s\n", worst, bound, same ? "" : "; OTHER BITS");
  return same && worst <= bound;
}

// With every storage type.
template <class T>
bool compare(const std::vector<const IsaKernels*>& isas, std::vector<Hash>& hashes, double bound) {
  bool fine = true;
  for (int storage = 0; storage < isas[0]->of<T>().products.count; ++storage)
    fine = compare<T>(isas, storage, hashes, bound) && fine;
  return fine;
}

}  // namespace

int main() {
  std::vector<const IsaKernels*> isas{&kernels_baseline};
  for (const IsaKernels* isa : available_isas())
    if (isa != isas[0]) isas.push_back(isa);
  std::vector<Hash> hashes(isas.size());
  bool fine = compare<float>(isas, hashes, 5e-6);
  fine = compare<double>(isas, hashes, 1e-14) && fine;
  fine = compare_ctc<float>(isas, hashes, 2e-6) && fine;
  fine = compare_ctc<double>(isas, hashes, 1e-12) && fine;
  fine = right_gradients(*isas[0]) && fine;
  for (const IsaKernels* isa : isas) fine = same_bits(*isa) && fine;
  for (size_t i = 0; i < isas.size(); ++i) std::printf("%s %016llx\n", isas[i]->name, hashes[i].value());
  return fine ? 0 : 1;
}
