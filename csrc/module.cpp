// The bindings: checks arrays, turns them into views, releases the GIL. No arithmetic. pylstm/_core.pyi is its stub.
//
// The Python layers have normalised every array before it comes here; what is checked again is what a wrong call could
// otherwise turn into a wild pointer.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "sequence.h"

namespace py = pybind11;

namespace pylstm {
namespace {

// ---- threads -------------------------------------------------------------------------------------------------------

std::atomic<int> configured_threads{1};

// The number a call uses. A limit put on the OpenMP runtime since import (threadpoolctl) holds here too.
int thread_count(std::optional<int> asked) {
  static const int at_import = runtime_threads();
  const int threads = asked.value_or(configured_threads.load());
  if (threads < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(threads));
  const int now = runtime_threads();
  if (!has_openmp) return 1;
  return now < at_import ? std::min(threads, now) : threads;
}

// ---- arrays --------------------------------------------------------------------------------------------------------

using Shape = std::vector<ptrdiff_t>;

std::string text(const Shape& shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

// An ndarray of exactly this dtype and shape.
template <class T>
py::array checked(const char* name, const py::handle& object, const Shape& shape, bool contiguous, bool writeable = false) {
  if (!py::isinstance<py::array>(object)) throw py::type_error(std::string(name) + ": expected an array");
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().equal(py::dtype::of<T>())) throw py::type_error(std::string(name) + ": wrong dtype");
  if (Shape(array.shape(), array.shape() + array.ndim()) != shape)
    throw py::value_error(std::string(name) + ": expected shape " + text(shape) + ", got " +
                          text(Shape(array.shape(), array.shape() + array.ndim())));
  if (contiguous && !(array.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + ": expected a C-contiguous array");
  if (writeable && !array.writeable()) throw py::value_error(std::string(name) + ": is read-only");
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(T)) throw py::value_error(std::string(name) + ": is misaligned");
  return array;
}

// A (T, N, features) array as a view: the last axis contiguous, the other strides whole elements.
template <class T>
View<T> view(const char* name, const py::array& array) {
  const auto element = static_cast<ptrdiff_t>(sizeof(T));
  // Strides of axes of one element, and of empty arrays, may be anything.
  if (array.size() && ((array.shape(2) > 1 && array.strides(2) != element) ||
                       (array.shape(0) > 1 && array.strides(0) % element) ||
                       (array.shape(1) > 1 && array.strides(1) % element)))
    throw py::value_error(std::string(name) + ": expected a contiguous last axis");
  return {static_cast<T*>(const_cast<void*>(array.data())), array.strides(0) / element, array.strides(1) / element};
}

// A new array of uninitialised elements; a large one in memory that is used again when the array is gone.
template <class T>
py::array_t<T> empty(const Shape& shape) {
  ptrdiff_t size = 1;
  for (ptrdiff_t n : shape) size = checked_product({size, n}, sizeof(T));
  if (size * ptrdiff_t(sizeof(T)) < (64 << 10)) return py::array_t<T>(shape);
  T* const p = AlignedBuffer<T>(size).release();
  return py::array_t<T>(shape, p, py::capsule(p, [](void* memory) { free_aligned(memory); }));
}

template <class T>
T* data(const py::array& array) {
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// ---- networks ------------------------------------------------------------------------------------------------------

// One sequence batch as both passes see it. The arrays are kept alive as long as the pointers into them.
template <class T>
struct Batch {
  ptrdiff_t steps, batch;
  py::array x;
  std::vector<py::object> states;
  std::shared_ptr<const Order> order;
};

// One step at a time, with a state of its own that stays between steps.
class StreamBase {
 public:
  virtual ~StreamBase() = default;
  virtual bool step(const py::handle& x, const py::handle& out) = 0;
  virtual py::tuple states() const = 0;
};

class NetworkBase {
 public:
  virtual ~NetworkBase() = default;
  virtual py::tuple infer(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                          std::optional<int> threads) const = 0;
  virtual py::tuple train(const py::object& x, const py::tuple& states, const py::object& lengths, const py::object& out,
                          std::optional<std::tuple<double, uint64_t, uint32_t>> dropout,
                          std::optional<int> threads) const = 0;
  virtual std::unique_ptr<StreamBase> stream(ptrdiff_t batch, std::optional<int> threads) const = 0;
};

class TapeBase {
 public:
  virtual ~TapeBase() = default;
  virtual py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                             std::optional<int> threads) const = 0;
};

template <class T>
class Bound;

// What a training pass leaves behind; backward may run on it any number of times.
template <class T>
class Tape : public TapeBase {
 public:
  Tape(std::shared_ptr<const Bound<T>> bound, Batch<T> batch, py::array output, Saved<T> saved, const Dropout& dropout)
      : bound_(std::move(bound)),
        batch_(std::move(batch)),
        output_(std::move(output)),
        saved_(std::move(saved)),
        dropout_(dropout) {}

  py::tuple backward(const py::object& d_output, const py::tuple& d_states, bool need_dx,
                     std::optional<int> threads) const override;

 private:
  std::shared_ptr<const Bound<T>> bound_;
  Batch<T> batch_;
  py::array output_;
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
    if (busy_.exchange(true)) throw std::runtime_error("this stream is in the middle of a step in another thread");
    call_.x.data = in, call_.output.data = to;
    if (release_) {
      const py::gil_scoped_release release;
      pass_->run();
    } else {
      pass_->run();
    }
    busy_.store(false);
    return true;
  }

  // The arrays themselves: (layers, N, size), updated in place by every step.
  py::tuple states() const override { return states_; }

 private:
  ptrdiff_t sizes_in() const { return order_.batch() * bound_->sizes().input; }
  ptrdiff_t sizes_out() const { return order_.batch() * bound_->sizes().width(); }
  static bool overlap(const T* a, ptrdiff_t a_size, const T* b, ptrdiff_t b_size) {
    return std::less<>()(a, b + b_size) && std::less<>()(b, a + a_size);
  }

  // The data of an (N, width) array, or (width,) for one sequence, in C order; null for anything else.
  T* row_pointer(const py::handle& object, ptrdiff_t width, bool writeable) const {
    if (!py::isinstance<py::array>(object)) return nullptr;
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
  bool release_ = false;
  std::atomic<bool> busy_{false};
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
                  std::optional<std::tuple<double, uint64_t, uint32_t>> key, std::optional<int> threads) const override {
    Dropout dropout;
    if (key) dropout = {std::get<0>(*key), std::get<1>(*key), std::get<2>(*key)};
    auto [final, tape] = run(x, states, lengths, out, true, dropout, threads);
    return py::make_tuple(final, py::cast(std::move(tape)));
  }

  std::unique_ptr<StreamBase> stream(ptrdiff_t batch, std::optional<int> threads) const override {
    if (sizes().directions != 1) throw py::value_error("a bidirectional layer needs the end of a sequence first");
    if (batch < 1) throw py::value_error("batch_size: expected at least 1, got " + std::to_string(batch));
    return std::make_unique<Stream<T>>(this->shared_from_this(), batch, thread_count(threads));
  }

  // The initial or final states of a call, checked; None is a null pointer.
  std::vector<py::object> take_states(const char* name, const py::tuple& states, ptrdiff_t batch) const {
    if (py::ssize_t(states.size()) != cell().states) throw py::value_error(std::string(name) + ": wrong number of states");
    std::vector<py::object> taken;
    for (int i = 0; i < cell().states; ++i) {
      const py::object state = states[size_t(i)];
      taken.push_back(state.is_none() ? state : checked<T>(name, state, state_shape(i, batch), true));
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
          row.push_back(checked<T>("params", array, param_shape(Param(p), cell, sizes, int(i) / sizes.directions), true));
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
    const py::gil_scoped_release release;
    return Network<T>(cell, sizes, current_isa().of<T>(), pointers);
  }

  std::pair<py::tuple, std::unique_ptr<TapeBase>> run(const py::object& x_object, const py::tuple& states,
                                                      const py::object& lengths, const py::object& out, bool training,
                                                      const Dropout& dropout, std::optional<int> asked) const {
    if (!py::isinstance<py::array>(x_object)) throw py::type_error("x: expected an array");
    Batch<T> batch;
    batch.x = py::reinterpret_borrow<py::array>(x_object);
    if (batch.x.ndim() != 3) throw py::value_error("x: expected three axes");
    batch.steps = batch.x.shape(0), batch.batch = batch.x.shape(1);
    checked<T>("x", x_object, {batch.steps, batch.batch, sizes().input}, false);
    const py::array output = checked<T>("out", out, {batch.steps, batch.batch, sizes().width()}, false, true);
    batch.states = take_states("state", states, batch.batch);

    const int64_t* lens = nullptr;
    if (!lengths.is_none()) {
      lens = data<const int64_t>(checked<int64_t>("lengths", lengths, {batch.batch}, true));
      for (ptrdiff_t n = 0; n < batch.batch; ++n)
        if (lens[n] < 0 || lens[n] > batch.steps) throw py::value_error("lengths: expected values in 0..T");
    }
    const auto order = std::make_shared<const Order>(lens, batch.steps, batch.batch);
    batch.order = order;

    py::tuple final(static_cast<size_t>(cell().states));
    ForwardCall<T> call{.network = network_,
                        .order = *order,
                        .steps = batch.steps,
                        .x = view<const T>("x", batch.x),
                        .output = view<T>("out", output),
                        .training = training,
                        .dropout = dropout};
    for (int i = 0; i < cell().states; ++i) {
      if (!batch.states[size_t(i)].is_none()) call.initial[i] = data<const T>(batch.states[size_t(i)]);
      const auto state = empty<T>(state_shape(i, batch.batch));
      call.final[i] = data<T>(state);
      final[size_t(i)] = state;
    }
    const int threads = thread_count(asked);
    Saved<T> saved;
    {
      const py::gil_scoped_release release;
      ForwardPass<T> pass(call, threads);
      pass.run();
      saved = pass.take_saved();
    }
    if (!training) return {final, nullptr};
    return {final, std::make_unique<Tape<T>>(this->shared_from_this(), std::move(batch), output, std::move(saved), dropout)};
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
                       .x = view<const T>("x", batch_.x),
                       .output = view<const T>("output", output_),
                       .saved = saved_,
                       .dropout = dropout_};
  if (!d_output.is_none())
    call.d_output = view<const T>("d_output", checked<T>("d_output", d_output,
                                                         {batch_.steps, batch_.batch, sizes.width()}, false));
  const auto finals = bound_->take_states("d_state", d_states, batch_.batch);
  py::tuple d_initial(static_cast<size_t>(cell.states));
  for (int i = 0; i < cell.states; ++i) {
    if (!batch_.states[size_t(i)].is_none()) call.initial[i] = data<const T>(batch_.states[size_t(i)]);
    if (!finals[size_t(i)].is_none()) call.d_final[i] = data<const T>(finals[size_t(i)]);
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
  {
    const py::gil_scoped_release release;
    pylstm::backward(call, threads);
  }
  return py::make_tuple(dx, d_initial, d_params);
}

// A step that is shorter than this keeps the GIL: giving it up and taking it back may cost more than the step.
constexpr double release_cycles = 100000;

template <class T>
Stream<T>::Stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads)
    : bound_(std::move(bound)),
      states_(size_t(bound_->cell().states)),
      order_(nullptr, 1, batch),
      call_{.network = bound_->network(), .order = order_, .steps = 1} {
  const Sizes& sizes = bound_->sizes();
  call_.x = {nullptr, 0, sizes.input};
  call_.output = {nullptr, 0, sizes.width()};
  for (int i = 0; i < bound_->cell().states; ++i) {
    py::array_t<T> state(bound_->state_shape(i, batch));
    std::fill_n(state.mutable_data(), state.size(), T(0));
    call_.initial[i] = call_.final[i] = state.mutable_data();  // a layer has read its state when it writes it
    states_[size_t(i)] = state;
  }
  pass_ = std::make_unique<ForwardPass<T>>(call_, threads);
  release_ = pass_->cycles() > release_cycles;
}

std::shared_ptr<NetworkBase> make_network(const std::string& name, const py::dtype& dtype, ptrdiff_t input, ptrdiff_t hidden,
                                          ptrdiff_t output, int layers, bool bidirectional, const py::list& params) {
  const CellSpec* cell = find_cell(name.c_str());
  if (!cell) throw py::value_error("cell: unknown name '" + name + "'");
  if (input < 1 || hidden < 1 || output < 1 || layers < 1) throw py::value_error("sizes: expected at least 1");
  if (!cell->projection && output != hidden) throw py::value_error("output: only a projected cell has one of its own");
  const Sizes sizes{input, hidden, output, layers, bidirectional ? 2 : 1};
  if (dtype.equal(py::dtype::of<float>())) return std::make_shared<Bound<float>>(*cell, sizes, params);
  if (dtype.equal(py::dtype::of<double>())) return std::make_shared<Bound<double>>(*cell, sizes, params);
  throw py::type_error("dtype: expected float32 or float64");
}

// ---- tests and configuration ---------------------------------------------------------------------------------------

template <class T>
py::array activation_of(const std::string& name, const py::array& x) {
  const Kernels<T>& kernels = current_isa().of<T>();
  const auto f = name == "exp"       ? kernels.exp
                 : name == "tanh"    ? kernels.tanh
                 : name == "sigmoid" ? kernels.sigmoid
                                     : nullptr;
  if (!f) throw py::value_error("name: expected exp, tanh or sigmoid, got '" + name + "'");
  checked<T>("x", x, {x.size()}, true);
  py::array_t<T> y(x.size());
  const T* in = data<const T>(x);
  T* out = y.mutable_data();
  const py::ssize_t n = x.size();
  const py::gil_scoped_release release;
  f(in, out, n);
  return y;
}

py::array activation(const std::string& name, const py::array& x) {
  if (x.dtype().equal(py::dtype::of<float>())) return activation_of<float>(name, x);
  return activation_of<double>(name, x);
}

std::vector<std::string> isa_names() {
  std::vector<std::string> names;
  for (const IsaKernels* isa : available_isas()) names.emplace_back(isa->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of pylstm. Use the classes of the package; nothing here is a public interface.";
  py::class_<NetworkBase, std::shared_ptr<NetworkBase>>(m, "Network")
      .def(py::init(&make_network), py::arg("cell"), py::arg("dtype"), py::arg("input_size"), py::arg("hidden_size"),
           py::arg("output_size"), py::arg("num_layers"), py::arg("bidirectional"), py::arg("params"))
      .def("infer", &NetworkBase::infer, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("out"),
           py::arg("num_threads"))
      .def("train", &NetworkBase::train, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("out"),
           py::arg("dropout"), py::arg("num_threads"))
      .def("stream", &NetworkBase::stream, py::arg("batch_size"), py::arg("num_threads"));
  py::class_<StreamBase>(m, "Stream")
      .def("step", &StreamBase::step, py::arg("x"), py::arg("out"))
      .def_property_readonly("states", &StreamBase::states);
  py::class_<TapeBase>(m, "Tape").def("backward", &TapeBase::backward, py::arg("d_output"), py::arg("d_states"),
                                      py::arg("need_dx"), py::arg("num_threads"));

  m.def("set_num_threads", [](int n) {
    if (n < 1) throw py::value_error("num_threads: expected at least 1, got " + std::to_string(n));
    configured_threads.store(n);
  });
  m.def("get_num_threads", [] { return thread_count(std::nullopt); });
  m.def(
      "empty",
      [](const Shape& shape, const py::dtype& dtype) -> py::array {
        for (ptrdiff_t n : shape)
          if (n < 0) throw py::value_error("shape: expected no negative sizes");
        if (dtype.equal(py::dtype::of<float>())) return empty<float>(shape);
        if (dtype.equal(py::dtype::of<double>())) return empty<double>(shape);
        throw py::type_error("dtype: expected float32 or float64");
      },
      py::arg("shape"), py::arg("dtype"));
  m.def("release_memory", &release_memory);
  m.def("available_isas", &isa_names);
  m.def("isa", [] { return std::string(current_isa().name); });
  m.def("use_isa", &use_isa, py::arg("name"));
  m.def(
      "force_plan",
      [](std::optional<std::tuple<int, int, int>> split, ptrdiff_t chunk_rows) {
        Forced forced;
        forced.chunk_rows = chunk_rows;
        if (split) {
          const auto [rows, units, directions] = *split;
          if (rows < 1 || units < 1 || directions < 1 || rows > 1024 || units > 1024 || directions > 2)
            throw py::value_error("split: expected (rows, units, directions) from 1");
          forced.split_set = true, forced.split = {rows, units, directions};
        }
        force_plan(forced);
      },
      py::arg("split") = py::none(), py::arg("chunk_rows") = -1);
  m.def("activation", &activation, py::arg("name"), py::arg("x"));
  m.attr("version") = PYLSTM_VERSION;
  m.attr("compiler") = PYLSTM_COMPILER;
  m.attr("has_openmp") = has_openmp;
  thread_count(std::nullopt);  // notes the runtime's number of threads at import
}

}  // namespace pylstm
