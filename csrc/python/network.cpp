// Networks, streams and tapes behind bindings.h. The Python layers have normalised every array before it comes here;
// what is checked again is what a wrong call could otherwise turn into a wild pointer.
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "fork.h"
#include "plan.h"
#include "python/arrays.h"
#include "python/bindings.h"
#include "python/gil.h"
#include "sequence.h"

namespace pylstm {
namespace {

// One sequence batch as both passes see it. Places and strides are those of the forward pass, whatever becomes of the
// Python objects, which only keep the memory.
template <class T>
struct Batch {
  ptrdiff_t steps = 0, batch = 0;
  View<const T> x;
  View<T> output;
  const T* initial[max_states] = {};
  std::shared_ptr<const Order> order;
  std::vector<py::object> owners;
};

template <class T>
class Bound;

// What a training pass leaves behind; backward may run on it any number of times.
template <class T>
class Tape : public TapeBase {
 public:
  Tape(std::shared_ptr<const Bound<T>> bound, Batch<T> batch, Saved<T> saved, const Dropout& dropout)
      : bound_(std::move(bound)), batch_(std::move(batch)), saved_(std::move(saved)), dropout_(dropout) {}

  py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                     std::optional<int> threads) const override;

 private:
  std::shared_ptr<const Bound<T>> bound_;
  Batch<T> batch_;
  Saved<T> saved_;
  Dropout dropout_;
};

template <class T>
class Stream : public StreamBase {
 public:
  Stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads);

  // False where x or out is not what the loop can take as it stands: Python converts and calls again.
  bool step(const py::handle& x, const py::handle& out) override {
    T* in = row_pointer(x, bound_->sizes().input, false);
    T* to = row_pointer(out, bound_->sizes().width(), true);
    if (!in || !to || overlap(in, sizes_in(), to, sizes_out())) return false;
    take(false);
    const Giver giver{this};
    call_.x.data = in, call_.output.data = to;
    // A step is never interrupted: it is short, and the states of its layers belong together.
    if (release_) {
      const WithoutGil released;
      std::ignore = pass_->run();
    } else {
      std::ignore = pass_->run();
    }
    return true;
  }

  void take(bool anew) override {
    const TryLock::Taken taken = lock_.take();
    if (taken == TryLock::Taken::no)
      throw std::runtime_error(
          "this stream is in the middle of a step in another thread, or in what a signal handler interrupted");
    torn_ = torn_ || taken == TryLock::Taken::orphaned;
    if (!torn_) return;
    Giver giver{this};
    if (!anew)
      throw std::runtime_error(
          "this stream was in the middle of a step in another thread when the process forked, and the child has half a "
          "step: reset() it or set its state");
    lay_out();  // its workers had half met
    torn_ = false;
    giver.stream = nullptr;
  }
  void give() override { lock_.give(); }

  // The arrays themselves: (layers, N, size), updated in place by every step.
  py::tuple states() const override { return states_; }

  void put(const py::tuple& values) override {
    const T* from[max_states] = {};
    const auto taken = bound_->take_states("states", values, order_.batch(), from);
    if (taken.size() != values.size()) throw py::type_error("states: expected arrays");
    for (size_t i = 0; i < states_.size(); ++i) {
      const auto own = py::reinterpret_borrow<py::array>(states_[i]);
      std::copy_n(from[i], own.size(), data<T>(own));
    }
  }

 private:
  struct Giver {
    Stream* stream;
    ~Giver() {
      if (stream) stream->give();
    }
  };

  void lay_out() { pass_ = std::make_unique<ForwardPass<T>>(call_, threads_); }

  ptrdiff_t sizes_in() const { return order_.batch() * bound_->sizes().input; }
  ptrdiff_t sizes_out() const { return order_.batch() * bound_->sizes().width(); }
  static bool overlap(const T* a, ptrdiff_t a_size, const T* b, ptrdiff_t b_size) {
    return std::less<>()(a, b + b_size) && std::less<>()(b, a + a_size);
  }

  // The data of an (N, width) array, or (width,) for one sequence, in C order; null for anything else.
  T* row_pointer(const py::handle& object, ptrdiff_t width, bool writeable) const {
    // Of no subclass: a masked array's numbers are not all there.
    if (Py_TYPE(object.ptr()) != py::detail::npy_api::get().PyArray_Type_) return nullptr;
    const auto* array = py::detail::array_proxy(object.ptr());
    const ptrdiff_t batch = order_.batch();
    const bool shape = array->nd == 2 ? array->dimensions[0] == batch && array->dimensions[1] == width
                                      : array->nd == 1 && batch == 1 && array->dimensions[0] == width;
    constexpr int needed = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    const int flags = writeable ? needed | py::detail::npy_api::NPY_ARRAY_WRITEABLE_ : needed;
    if (!shape || (array->flags & flags) != flags || array->descr != dtype_.ptr()) return nullptr;
    return reinterpret_cast<T*>(array->data);
  }

  std::shared_ptr<const Bound<T>> bound_;
  py::dtype dtype_ = py::dtype::of<T>();
  py::tuple states_;
  Order order_;
  ForwardCall<T> call_;
  std::unique_ptr<ForwardPass<T>> pass_;
  const int threads_;
  bool release_ = false;
  bool torn_ = false;  // the state is of no step
  TryLock lock_;       // of the state
};

template <class T>
class Bound : public NetworkBase, public std::enable_shared_from_this<Bound<T>> {
 public:
  Bound(const CellSpec& cell, const Sizes& sizes, const py::list& params)
      : arrays_(take(cell, sizes, params)), network_(make(cell, sizes)) {}

  py::tuple infer(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                  std::optional<int> threads) const override {
    return run(x, states, lengths, out, false, {}, threads).first;
  }

  py::tuple train(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                  std::optional<std::tuple<double, uint64_t, uint32_t>> key,
                  std::optional<int> threads) const override {
    Dropout dropout;
    if (key) dropout = {std::get<0>(*key), std::get<1>(*key), std::get<2>(*key)};
    auto [final, tape] = run(x, states, lengths, out, true, dropout, threads);
    return py::make_tuple(final, py::cast(std::move(tape)));
  }

  py::tuple plan(ptrdiff_t steps, ptrdiff_t batch, bool backward, int threads) const override {
    if (steps < 1 || batch < 1 || threads < 1) throw py::value_error("steps, batch, threads: expected at least 1");
    const Problem problem = describe(network_, Order(nullptr, steps, batch), backward);
    const Split split = choose_split(problem, threads);
    return py::make_tuple(py::make_tuple(split.rows, split.units, split.directions), input_chunk_rows(problem, split),
                          estimate(problem, split));
  }

  std::unique_ptr<StreamBase> stream(ptrdiff_t batch, std::optional<int> threads) const override {
    if (sizes().directions != 1) throw py::value_error("a bidirectional layer needs the end of a sequence first");
    if (batch < 1) throw py::value_error("batch_size: expected at least 1, got " + std::to_string(batch));
    return std::make_unique<Stream<T>>(this->shared_from_this(), batch, thread_count(threads));
  }

  // The initial or final states of a call, checked, and where their numbers are; None is a null pointer.
  std::vector<py::object> take_states(const char* name, const py::tuple& states, ptrdiff_t batch,
                                      const T* (&pointers)[max_states]) const {
    if (py::ssize_t(states.size()) != cell().states)
      throw py::value_error(std::string(name) + ": wrong number of states");
    std::vector<py::object> taken;
    for (int i = 0; i < cell().states; ++i) {
      const py::object state = states[size_t(i)];
      pointers[i] = nullptr;
      if (state.is_none()) continue;
      taken.push_back(checked<T>(name, state, state_shape(i, batch), true));
      pointers[i] = data<const T>(py::reinterpret_borrow<py::array>(state));
    }
    return taken;
  }
  Shape state_shape(int i, ptrdiff_t batch) const {
    return {ptrdiff_t(sizes().layers) * sizes().directions, batch, sizes().state(i)};
  }
  static Shape param_shape(Param p, const CellSpec& cell, const Sizes& sizes, int layer) {
    const ptrdiff_t gates = cell.gates * sizes.hidden;
    switch (p) {
      case Param::weight_ih:
        return {gates, sizes.layer_input(layer)};
      case Param::weight_hh:
        return {gates, sizes.output};
      case Param::weight_hr:
        return {sizes.output, sizes.hidden};
      default:
        return {gates};
    }
  }
  static bool has(Param p, const CellSpec& cell) { return p != Param::weight_hr || cell.projection; }

  const Network<T>& network() const { return network_; }
  const CellSpec& cell() const { return network_.cell(); }
  const Sizes& sizes() const { return network_.sizes(); }
  bool has_param(size_t layer, int p) const { return !arrays_[layer][size_t(p)].is_none(); }

 private:
  using Arrays = std::vector<std::vector<py::object>>;

  static Arrays take(const CellSpec& cell, const Sizes& sizes, const py::list& params) {
    Arrays arrays;
    if (py::ssize_t(params.size()) != py::ssize_t(sizes.layers) * sizes.directions)
      throw py::value_error("params: wrong number of layers");
    for (size_t i = 0; i < params.size(); ++i) {
      const auto layer = params[i].cast<py::sequence>();
      if (layer.size() != size_t(param_count)) throw py::value_error("params: wrong number of arrays");
      std::vector<py::object> row;
      for (int p = 0; p < param_count; ++p) {
        const py::object array = layer[size_t(p)];
        const bool bias = Param(p) == Param::bias_ih || Param(p) == Param::bias_hh;
        if (array.is_none() && (bias || !has(Param(p), cell)))
          row.push_back(array);
        else
          row.push_back(
              checked<T>("params", array, param_shape(Param(p), cell, sizes, int(i) / sizes.directions), true));
      }
      arrays.push_back(std::move(row));
    }
    return arrays;
  }

  Network<T> make(const CellSpec& cell, const Sizes& sizes) const {
    std::vector<Params<const T>> pointers(arrays_.size());
    for (size_t i = 0; i < arrays_.size(); ++i)
      for (size_t p = 0; p < size_t(param_count); ++p)
        if (!arrays_[i][p].is_none()) pointers[i].data[p] = data<const T>(arrays_[i][p]);
    const WithoutGil released;
    return Network<T>(cell, sizes, current_isa().of<T>(), pointers);
  }

  std::pair<py::tuple, std::unique_ptr<TapeBase>> run(const py::object& x_object, const py::tuple& states,
                                                      const py::object& lengths, const py::object& out, bool training,
                                                      const Dropout& dropout, std::optional<int> asked) const {
    if (!py::isinstance<py::array>(x_object)) throw py::type_error("x: expected an array");
    const auto x = py::reinterpret_borrow<py::array>(x_object);
    if (x.ndim() != 3) throw py::value_error("x: expected three axes");
    Batch<T> batch;
    batch.steps = x.shape(0), batch.batch = x.shape(1);
    batch.x = view<const T>("x", checked<T>("x", x, {batch.steps, batch.batch, sizes().input}, false));
    batch.output = view<T>("out", checked<T>("out", out, {batch.steps, batch.batch, sizes().width()}, false, true));
    batch.owners = take_states("state", states, batch.batch, batch.initial);
    batch.owners.push_back(x);
    batch.owners.push_back(out);

    const int64_t* lens = nullptr;
    if (!lengths.is_none()) {
      lens = data<const int64_t>(checked<int64_t>("lengths", lengths, {batch.batch}, true));
      for (ptrdiff_t n = 0; n < batch.batch; ++n)
        if (lens[n] < 0 || lens[n] > batch.steps) throw py::value_error("lengths: expected values in 0..T");
    }
    batch.order = std::make_shared<const Order>(lens, batch.steps, batch.batch);

    py::tuple final(static_cast<size_t>(cell().states));
    ForwardCall<T> call{.network = network_,
                        .order = *batch.order,
                        .steps = batch.steps,
                        .x = batch.x,
                        .output = batch.output,
                        .training = training,
                        .dropout = dropout,
                        .interrupted = interrupted};
    for (int i = 0; i < cell().states; ++i) {
      call.initial[i] = batch.initial[i];
      const auto state = empty<T>(state_shape(i, batch.batch));
      call.final[i] = data<T>(state);
      final[size_t(i)] = state;
    }
    const int threads = thread_count(asked);
    Saved<T> saved;
    bool done = false;
    {
      const WithoutGil released;
      ForwardPass<T> pass(call, threads);
      done = pass.run();
      saved = pass.take_saved();
    }
    if (!done) throw py::error_already_set();
    if (!training) return {final, nullptr};
    return {final, std::make_unique<Tape<T>>(this->shared_from_this(), std::move(batch), std::move(saved), dropout)};
  }

  Arrays arrays_;
  Network<T> network_;
};

template <class T>
py::tuple Tape<T>::backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                            std::optional<int> asked) const {
  const Sizes& sizes = bound_->sizes();
  const CellSpec& cell = bound_->cell();
  BackwardCall<T> call{.network = bound_->network(),
                       .order = *batch_.order,
                       .steps = batch_.steps,
                       .x = batch_.x,
                       .output = {batch_.output.data, batch_.output.time, batch_.output.sequence},
                       .saved = saved_,
                       .dropout = dropout_,
                       .interrupted = interrupted};
  if (!d_output.is_none())
    call.d_output =
        view<const T>("d_output", checked<T>("d_output", d_output, {batch_.steps, batch_.batch, sizes.width()}, false));
  const auto finals = bound_->take_states("d_state", d_states, batch_.batch, call.d_final);
  py::tuple d_initial(static_cast<size_t>(cell.states));
  for (int i = 0; i < cell.states; ++i) {
    call.initial[i] = batch_.initial[i];
    const auto state = empty<T>(bound_->state_shape(i, batch_.batch));
    call.d_initial[i] = data<T>(state);
    d_initial[size_t(i)] = state;
  }
  py::object dx = py::none();
  if (need_dx) {
    const auto array = empty<T>({batch_.steps, batch_.batch, sizes.input});
    call.d_x = view<T>("dx", array);
    dx = array;
  }
  py::list d_params;
  for (int i = 0; i < sizes.layers * sizes.directions; ++i) {
    py::list arrays;
    Params<T> pointers;
    for (int p = 0; p < param_count; ++p) {
      if (!bound_->has_param(size_t(i), p)) {
        arrays.append(py::none());
        continue;
      }
      const auto array = empty<T>(Bound<T>::param_shape(Param(p), cell, sizes, i / sizes.directions));
      pointers.data[p] = data<T>(array);
      arrays.append(array);
    }
    call.d_params.push_back(pointers);
    d_params.append(arrays);
  }
  const int threads = thread_count(asked);
  bool done = false;
  {
    const WithoutGil released;
    done = pylstm::backward(call, threads);
  }
  if (!done) throw py::error_already_set();
  return py::make_tuple(dx, d_initial, d_params);
}

// A step that is shorter than this keeps the GIL: giving it up and taking it back may cost more than the step.
constexpr double release_cycles = 100000;

template <class T>
Stream<T>::Stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads)
    : bound_(std::move(bound)),
      states_(size_t(bound_->cell().states)),
      order_(nullptr, 1, batch),
      call_{.network = bound_->network(), .order = order_, .steps = 1},
      threads_(threads) {
  const Sizes& sizes = bound_->sizes();
  call_.x = {nullptr, 0, sizes.input};
  call_.output = {nullptr, 0, sizes.width()};
  for (int i = 0; i < bound_->cell().states; ++i) {
    py::array_t<T> state(bound_->state_shape(i, batch));
    std::fill_n(state.mutable_data(), state.size(), T(0));
    call_.initial[i] = call_.final[i] = state.mutable_data();  // a layer has read its state when it writes it
    states_[size_t(i)] = state;
  }
  lay_out();
  release_ = pass_->cycles() > release_cycles;
}

}  // namespace

std::shared_ptr<NetworkBase> make_network(const std::string& name, const py::dtype& dtype, ptrdiff_t input,
                                          ptrdiff_t hidden, ptrdiff_t output, int layers, bool bidirectional,
                                          const py::list& params) {
  const CellSpec* cell = find_cell(name.c_str());
  if (!cell) throw py::value_error("cell: unknown name '" + name + "'");
  if (input < 1 || hidden < 1 || output < 1 || layers < 1) throw py::value_error("sizes: expected at least 1");
  if (!cell->projection && output != hidden) throw py::value_error("output: only a projected cell has one of its own");
  const Sizes sizes{input, hidden, output, layers, bidirectional ? 2 : 1};
  if (dtype.equal(py::dtype::of<float>())) return std::make_shared<Bound<float>>(*cell, sizes, params);
  if (dtype.equal(py::dtype::of<double>())) return std::make_shared<Bound<double>>(*cell, sizes, params);
  throw py::type_error("dtype: expected float32 or float64");
}

}  // namespace pylstm
