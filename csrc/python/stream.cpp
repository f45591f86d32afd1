#include "python/stream.h"

#include <functional>
#include <tuple>
#include <utility>

#include "fork.h"
#include "python/bindings.h"
#include "python/bound.h"
#include "python/gil.h"
#include "python/holder.h"

namespace pylstm {
namespace {

template <class T>
class Stream : public StreamBase {
 public:
  Stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads);

  bool step(const py::handle& x, const py::handle& out) override {
    T* in = row_pointer(x, bound_->sizes().input, false);
    T* to = row_pointer(out, bound_->sizes().width(), true);
    if (!in || !to || overlap(in, sizes_in(), to, sizes_out())) return false;
    take(false);
    const Giver giver{this};
    call_.x.data = in, call_.output.data = to;
    run(*pass_);
    return true;
  }

  py::object step_symbols(const py::handle& table, const py::handle& x) override {
    const auto* kept = dynamic_cast<const BoundTable<T>*>(&table.cast<const BoundTableBase&>());
    if (!kept || kept->bound != bound_) return py::none();
    const ptrdiff_t width = bound_->sizes().width();
    const bool alone = PyLong_CheckExact(x.ptr());
    const int64_t* ids = nullptr;
    int64_t one = 0;
    if (alone) {
      int overflow = 0;
      one = PyLong_AsLongLongAndOverflow(x.ptr(), &overflow);
      if (overflow || order_.batch() != 1) return py::none();
      ids = &one;
    } else if (!(ids = symbol_pointer(x))) {
      return py::none();
    }
    const py::array_t<T> out = alone ? py::array_t<T>(width) : empty<T>({order_.batch(), width});
    take(false);
    const Giver giver{this};
    if (!table_.is(table)) {
      BySymbol made(call_, *kept->table, threads_);
      by_symbol_ = std::move(made), table_ = py::reinterpret_borrow<py::object>(table);
    }
    if (!by_symbol_.symbols->move_to(ids)) return py::none();
    by_symbol_.call->output.data = data<T>(out);
    run(*by_symbol_.pass);
    return out;
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
    by_symbol_ = {}, table_ = {};
    torn_ = false;
    giver.stream = nullptr;
  }
  void give() override { lock_.give(); }

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

  // A step whose x is symbols: a call and a pass of their own, on the same states.
  struct BySymbol {
    std::unique_ptr<Symbols> symbols;
    std::unique_ptr<ForwardCall<T>> call;
    std::unique_ptr<ForwardPass<T>> pass;

    BySymbol() = default;
    BySymbol(const ForwardCall<T>& own, const InputTable<T>& table, int threads)
        : symbols(std::make_unique<Symbols>(own.order.batch(), table.rows())),
          call(std::make_unique<ForwardCall<T>>(own)) {
      call->x = {}, call->symbols.symbols = symbols.get(), call->symbols.kept = &table;
      pass = std::make_unique<ForwardPass<T>>(*call, threads);
    }
  };

  // A step is never interrupted: it is short, and the states of its layers belong together.
  void run(ForwardPass<T>& pass) {
    if (release_) {
      const WithoutGil released;
      std::ignore = pass.run();
    } else {
      std::ignore = pass.run();
    }
  }

  void lay_out() { pass_ = std::make_unique<ForwardPass<T>>(call_, threads_); }

  ptrdiff_t sizes_in() const { return order_.batch() * bound_->sizes().input; }
  ptrdiff_t sizes_out() const { return order_.batch() * bound_->sizes().width(); }
  static bool overlap(const T* a, ptrdiff_t a_size, const T* b, ptrdiff_t b_size) {
    return std::less<>()(a, b + b_size) && std::less<>()(b, a + a_size);
  }

  // The data of an (N, width) array, or (width,) for one sequence, in C order; null for anything else.
  T* row_pointer(const py::handle& object, ptrdiff_t width, bool writeable) const {
    const auto* array = plain_array(object, dtype_, writeable);
    if (!array) return nullptr;
    const ptrdiff_t batch = order_.batch();
    const bool shape = array->nd == 2 ? array->dimensions[0] == batch && array->dimensions[1] == width
                                      : array->nd == 1 && batch == 1 && array->dimensions[0] == width;
    return shape ? reinterpret_cast<T*>(array->data) : nullptr;
  }

  // The data of an (N,) array of int64 in C order; null for anything else.
  const int64_t* symbol_pointer(const py::handle& object) const {
    const auto* array = plain_array(object, symbol_dtype_);
    const bool shape = array && array->nd == 1 && array->dimensions[0] == order_.batch();
    return shape ? reinterpret_cast<const int64_t*>(array->data) : nullptr;
  }

  std::shared_ptr<const Bound<T>> bound_;
  py::dtype dtype_ = py::dtype::of<T>(), symbol_dtype_ = py::dtype::of<int64_t>();
  py::tuple states_;
  Order order_;
  ForwardCall<T> call_;
  std::unique_ptr<ForwardPass<T>> pass_;
  py::object table_;    // that `by_symbol_` reads
  BySymbol by_symbol_;  // once it was needed
  const int threads_;
  bool release_ = false;
  bool torn_ = false;  // the state is of no step
  TryLock lock_;       // of the state
};

// A step that is shorter than this keeps the GIL: giving it up and taking it back may cost more than the step.
constexpr double release_cycles = 100000;

template <class T>
Stream<T>::Stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads)
    : bound_(std::move(bound)),
      states_(size_t(bound_->cell().states.count)),
      order_(nullptr, 1, batch),
      call_{.network = bound_->network(), .order = order_, .steps = 1},
      threads_(threads) {
  const Sizes& sizes = bound_->sizes();
  call_.x = {nullptr, 0, sizes.input};
  call_.output = {nullptr, 0, sizes.width()};
  for (int i = 0; i < bound_->cell().states.count; ++i) {
    py::array_t<T> state(bound_->state_shape(i, batch));
    std::fill_n(state.mutable_data(), state.size(), T(0));
    call_.initial[i] = call_.final[i] = state.mutable_data();  // a layer has read its state when it writes it
    states_[size_t(i)] = state;
  }
  lay_out();
  release_ = pass_->cycles() > release_cycles;
}

// A stream's state within a `with` block, and no signal handler runs between taking it and the block, or between the
// block and giving it back, as it would around two calls: Python would leave the stream taken for ever.
struct Hold {
  py::object stream;
  bool anew;

  StreamBase& of() const { return stream.cast<StreamBase&>(); }
  py::tuple enter() const {
    const py::tuple states = of().states();
    of().take(anew);
    return states;
  }
  void exit(const py::args&) const { of().give(); }
};

}  // namespace

template <class T>
std::unique_ptr<StreamBase> make_stream(std::shared_ptr<const Bound<T>> bound, ptrdiff_t batch, int threads) {
  return std::make_unique<Stream<T>>(std::move(bound), batch, threads);
}
template std::unique_ptr<StreamBase> make_stream(std::shared_ptr<const Bound<float>>, ptrdiff_t, int);
template std::unique_ptr<StreamBase> make_stream(std::shared_ptr<const Bound<double>>, ptrdiff_t, int);

void add_stream(py::module_& m) {
  py::class_<StreamBase> stream(m, "Stream");
  stream.def("step", &StreamBase::step, py::arg("x"), py::arg("out"))
      .def("step_symbols", &StreamBase::step_symbols, py::arg("table"), py::arg("x"))
      .def(
          "hold", [](py::object self, bool anew) { return Hold{std::move(self), anew}; }, py::arg("anew"))
      .def("put", &StreamBase::put, py::arg("values"))
      .def_property_readonly("states", &StreamBase::states);
  py::class_<Hold> hold(m, "Hold");
  hold.def("__enter__", &Hold::enter).def("__exit__", &Hold::exit);
  deleted_by_holder(stream);
  deleted_by_holder(hold);
}

}  // namespace pylstm
