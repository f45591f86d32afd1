#include "dispatch.h"
#include "kept_plans.h"
#include "python/bindings.h"
#include "python/bound.h"
#include "python/gil.h"
#include "python/holder.h"

namespace pylstm {
template <class T>
Bound<T>::Bound(const CellSpec& cell, const Sizes& sizes, const py::list& params, const std::vector<double>& constants)
    : arrays_(take(cell, sizes, params)), network_(make(cell, sizes, constants)) {}

template <class T>
py::tuple Bound<T>::infer(const py::object& x, const py::tuple& states, const py::object& lengths,
                          const py::object& out, std::optional<int> threads) const {
  return run(x, states, lengths, out, false, {}, threads).first;
}

template <class T>
py::tuple Bound<T>::train(const py::object& x, const py::tuple& states, const py::object& lengths,
                          const py::object& out, std::optional<std::tuple<double, uint64_t, uint32_t>> key,
                          std::optional<int> threads) const {
  Dropout dropout;
  if (!key && cell().masks.count) throw py::value_error("dropout: the cell draws masks and needs a seed and a call");
  if (key) dropout = {std::get<0>(*key), std::get<1>(*key), std::get<2>(*key)};
  auto [final, tape] = run(x, states, lengths, out, true, dropout, threads);
  return py::make_tuple(final, py::cast(std::move(tape)));
}

template <class T>
py::tuple Bound<T>::plan(ptrdiff_t steps, ptrdiff_t batch, bool backward, int threads) const {
  if (steps < 1 || batch < 1 || threads < 1) throw py::value_error("steps, batch, threads: expected at least 1");
  Plan plan;
  {
    const WithoutGil released;
    plan = plan_for(describe(network_, Order(nullptr, steps, batch), backward), threads);
  }
  return py::make_tuple(py::make_tuple(plan.split.rows, plan.split.units, plan.split.directions), plan.chunk_rows,
                        plan.cycles);
}

template <class T>
std::unique_ptr<StreamBase> Bound<T>::stream(ptrdiff_t batch, std::optional<int> threads) const {
  if (sizes().directions != 1) throw py::value_error("a bidirectional layer needs the end of a sequence first");
  if (batch < 1) throw py::value_error("batch_size: expected at least 1, got " + std::to_string(batch));
  return make_stream<T>(this->shared_from_this(), batch, thread_count(threads));
}

template <class T>
std::vector<py::object> Bound<T>::take_states(const char* name, const py::tuple& states, ptrdiff_t batch,
                                              const T* (&pointers)[max_states]) const {
  if (py::ssize_t(states.size()) != cell().states.count)
    throw py::value_error(std::string(name) + ": wrong number of states");
  std::vector<py::object> taken;
  for (int i = 0; i < cell().states.count; ++i) {
    const py::object state = states[size_t(i)];
    pointers[i] = nullptr;
    if (state.is_none()) continue;
    taken.push_back(checked<T>(name, state, state_shape(i, batch), true));
    pointers[i] = data<const T>(py::reinterpret_borrow<py::array>(state));
  }
  return taken;
}

template <class T>
Shape Bound<T>::param_shape(const ParamSpec& p, const Sizes& sizes, int layer) {
  const ptrdiff_t rows = p.blocks * sizes.of(p.rows);
  if (p.columns == Size::one) return {rows};
  return {rows, sizes.of(p.columns, sizes.layer_input(layer))};
}

template <class T>
typename Bound<T>::Arrays Bound<T>::take(const CellSpec& cell, const Sizes& sizes, const py::list& params) {
  Arrays arrays;
  if (py::ssize_t(params.size()) != py::ssize_t(sizes.layers) * sizes.directions)
    throw py::value_error("params: wrong number of layers");
  for (size_t i = 0; i < params.size(); ++i) {
    const auto layer = params[i].cast<py::sequence>();
    if (py::ssize_t(layer.size()) != cell.parameters.count) throw py::value_error("params: wrong number of arrays");
    std::vector<py::object> row;
    for (int p = 0; p < cell.parameters.count; ++p) {
      const py::object array = layer[size_t(p)];
      const ParamSpec& spec = cell.parameters[p];
      if (array.is_none() && spec.optional)
        row.push_back(array);
      else
        row.push_back(checked<T>("params", array, param_shape(spec, sizes, int(i) / sizes.directions), true));
    }
    arrays.push_back(std::move(row));
  }
  return arrays;
}

template <class T>
Network<T> Bound<T>::make(const CellSpec& cell, const Sizes& sizes, const std::vector<double>& constants) const {
  std::vector<Params<const T>> pointers(arrays_.size());
  for (size_t i = 0; i < arrays_.size(); ++i)
    for (size_t p = 0; p < size_t(cell.parameters.count); ++p)
      if (!arrays_[i][p].is_none()) pointers[i].data[p] = data<const T>(arrays_[i][p]);
  const WithoutGil released;
  const Kernels<T>& kernels = current_isa().of<T>();
  return Network<T>(cell, sizes, kernels, kernels.products[0], pointers, constants);
}

template <class T>
void Bound<T>::take_x(const py::object& object, Batch<T>& batch) const {
  if (!py::isinstance<py::array>(object)) throw py::type_error("x: expected an array");
  const auto x = py::reinterpret_borrow<py::array>(object);
  if (x.ndim() != 3) throw py::value_error("x: expected three axes");
  batch.steps = x.shape(0), batch.batch = x.shape(1);
  batch.x = view<const T>("x", checked<T>("x", x, {batch.steps, batch.batch, sizes().input}, false));
}

template <class T>
py::array Bound<T>::take_table(const py::object& object, ptrdiff_t count) const {
  py::array table = checked<T>("x", object, {count, sizes().input}, false);
  constexpr auto element = ptrdiff_t(sizeof(T));
  if ((sizes().input > 1 && table.strides(1) != element) || (count > 1 && table.strides(0) % element))
    throw py::value_error("x: expected a table with a contiguous last axis");
  return table;
}

template <class T>
void Bound<T>::take_symbols(const py::tuple& x, bool training, Batch<T>& batch) const {
  if (x.size() != 2) throw py::value_error("x: expected a table and symbols");
  const py::object object = x[0];
  batch.owned_symbols = x[1].cast<const BoundSymbols&>().symbols;
  const Symbols& symbols = *batch.owned_symbols;
  batch.steps = symbols.steps(), batch.batch = symbols.batch();
  batch.symbols.symbols = &symbols;
  if (py::isinstance<BoundTableBase>(object)) {
    const auto* kept = dynamic_cast<const BoundTable<T>*>(&object.cast<const BoundTableBase&>());
    if (training || !symbols.in_table() || !kept || kept->bound.get() != this || kept->table->rows() != symbols.count())
      throw py::value_error("x: the table is of another network or call");
    batch.symbols.kept = kept->table.get();
    return;
  }
  if (symbols.in_table()) throw py::value_error("x: expected symbols with places among distinct rows");
  const py::array table = take_table(object, symbols.count());
  if (training) batch.symbol_rows = AlignedBuffer<T>(checked_product({symbols.distinct(), sizes().input}));
  batch.symbols.table = data<const T>(table), batch.symbols.table_row = table.strides(0) / ptrdiff_t(sizeof(T));
  batch.symbols.rows = batch.symbol_rows.data();
}

template <class T>
std::unique_ptr<BoundTableBase> Bound<T>::multiplied(const py::object& object, std::optional<int> asked) const {
  if (!py::isinstance<py::array>(object) || py::reinterpret_borrow<py::array>(object).ndim() != 2)
    throw py::type_error("table: expected an array of two axes");
  const ptrdiff_t count = py::reinterpret_borrow<py::array>(object).shape(0);
  const py::array table = take_table(object, count);
  const int threads = call_threads(asked);
  auto made = std::make_unique<BoundTable<T>>();
  made->bound = this->shared_from_this();
  {
    const WithoutGil released;
    made->table =
        pylstm::multiplied(network_, data<const T>(table), table.strides(0) / ptrdiff_t(sizeof(T)), count, threads);
  }
  return made;
}

template <class T>
std::pair<py::tuple, std::unique_ptr<TapeBase>> Bound<T>::run(const py::object& x_object, const py::tuple& states,
                                                              const py::object& lengths, const py::object& out,
                                                              bool training, const Dropout& dropout,
                                                              std::optional<int> asked) const {
  Batch<T> batch;
  if (py::isinstance<py::tuple>(x_object))
    take_symbols(x_object, training, batch);
  else
    take_x(x_object, batch);
  batch.output = view<T>("out", checked<T>("out", out, {batch.steps, batch.batch, sizes().width()}, false, true));
  batch.owners = take_states("state", states, batch.batch, batch.initial);
  batch.owners.push_back(x_object);
  batch.owners.push_back(out);

  const int64_t* lens = checked_lengths(lengths, batch.steps, batch.batch);
  batch.order = std::make_shared<const Order>(lens, batch.steps, batch.batch);
  if (batch.owned_symbols && batch.owned_symbols->total() != batch.order->total())
    throw py::value_error("x: expected the symbols of sequences of these lengths");

  py::tuple final(static_cast<size_t>(cell().states.count));
  ForwardCall<T> call{.network = network_,
                      .order = *batch.order,
                      .steps = batch.steps,
                      .x = batch.x,
                      .symbols = batch.symbols,
                      .output = batch.output,
                      .training = training,
                      .dropout = dropout,
                      .interrupted = interrupted};
  for (int i = 0; i < cell().states.count; ++i) {
    call.initial[i] = batch.initial[i];
    const auto state = empty<T>(state_shape(i, batch.batch));
    call.final[i] = data<T>(state);
    final[size_t(i)] = state;
  }
  const int threads = call_threads(asked);
  Saved<T> saved;
  run_without_gil([&] {
    ForwardPass<T> pass(call, threads);
    const bool done = pass.run();
    saved = pass.take_saved();
    return done;
  });
  if (!training) return {final, nullptr};
  return {final, make_tape<T>(this->shared_from_this(), std::move(batch), std::move(saved), dropout)};
}

template class Bound<float>;
template class Bound<double>;

namespace {

// A network for a cell and dtype, its weights packed for the ISA in use. params: for every layer and direction a list
// of its arrays in the order of the cell's description, None for an optional one that is absent. constants: numbers, in
// that order, too.
std::shared_ptr<NetworkBase> make_network(const std::string& name, const py::dtype& dtype, ptrdiff_t input,
                                          ptrdiff_t hidden, ptrdiff_t output, int layers, bool bidirectional,
                                          const py::list& params, const std::vector<double>& constants) {
  const CellSpec* cell = find_cell(name.c_str());
  if (!cell) throw py::value_error("cell: unknown name '" + name + "'");
  if (input < 1 || hidden < 1 || output < 1 || layers < 1) throw py::value_error("sizes: expected at least 1");
  if (!cell->projects && output != hidden) throw py::value_error("output: only a projected cell has one of its own");
  if (ptrdiff_t(constants.size()) != cell->constants.count)
    throw py::value_error("constants: expected " + std::to_string(cell->constants.count) + " numbers, got " +
                          std::to_string(constants.size()));
  for (const MaskSpec& mask : cell->masks)
    if (const double p = constants[size_t(cell->constant(mask.probability))]; !(p >= 0 && p <= 1))
      throw py::value_error(std::string("constants: expected '") + mask.probability.text + "' in 0..1, got " +
                            std::to_string(p));
  const Sizes sizes{input, hidden, output, layers, bidirectional ? 2 : 1};
  if (dtype.equal(py::dtype::of<float>())) return std::make_shared<Bound<float>>(*cell, sizes, params, constants);
  if (dtype.equal(py::dtype::of<double>())) return std::make_shared<Bound<double>>(*cell, sizes, params, constants);
  throw py::type_error("dtype: expected float32 or float64");
}

}  // namespace

void add_network(py::module_& m) {
  py::class_<NetworkBase, std::shared_ptr<NetworkBase>> network(m, "Network");
  network
      .def(py::init(&make_network), py::arg("cell"), py::arg("dtype"), py::arg("input_size"), py::arg("hidden_size"),
           py::arg("output_size"), py::arg("num_layers"), py::arg("bidirectional"), py::arg("params"),
           py::arg("constants") = std::vector<double>())
      .def("infer", &NetworkBase::infer, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("out"),
           py::arg("num_threads"))
      .def("train", &NetworkBase::train, py::arg("x"), py::arg("states"), py::arg("lengths"), py::arg("out"),
           py::arg("dropout"), py::arg("num_threads"))
      .def("plan", &NetworkBase::plan, py::arg("steps"), py::arg("batch"), py::arg("backward"), py::arg("num_threads"))
      .def("multiplied", &NetworkBase::multiplied, py::arg("table"), py::arg("num_threads"))
      .def("multiplied_bytes", &NetworkBase::multiplied_bytes, py::arg("rows"))
      .def("stream", &NetworkBase::stream, py::arg("batch_size"), py::arg("num_threads"));
  deleted_by_holder(network);
}

}  // namespace pylstm
