#include "kept_plans.h"
#include "python/bindings.h"
#include "python/bound_symbols.h"
#include "python/gil.h"
#include "python/holder.h"

namespace pylstm {
namespace {

// The symbols of ids (T, N), or None where too few of them repeat to be worth while: x is looked up then. Distinct rows
// of a table of `count` rows, `width` numbers each. in_table: their places in the whole table, in any case.
py::object find_symbols(const py::array& ids, const py::object& lengths, ptrdiff_t count, ptrdiff_t width,
                        bool in_table) {
  if (!ids.dtype().equal(py::dtype::of<int64_t>())) throw py::type_error("ids: expected int64");
  if (ids.ndim() != 2) throw py::value_error("ids: expected two axes");
  const ptrdiff_t steps = ids.shape(0), batch = ids.shape(1);
  constexpr auto element = ptrdiff_t(sizeof(int64_t));
  if (ids.size() && ((steps > 1 && ids.strides(0) % element) || (batch > 1 && ids.strides(1) % element) ||
                     reinterpret_cast<uintptr_t>(ids.data()) % alignof(int64_t)))
    throw py::value_error("ids: misaligned");
  const View<const int64_t> view{static_cast<const int64_t*>(ids.data()), ids.strides(0) / element,
                                 ids.strides(1) / element};
  const int64_t* lens = checked_lengths(lengths, steps, batch);
  if (count > INT32_MAX) return py::none();
  BoundSymbols found;
  {
    const WithoutGil released;
    const auto places = in_table ? Symbols::Places::in_table : Symbols::Places::among_distinct;
    auto symbols = std::make_shared<const Symbols>(view, Order(lens, steps, batch), steps, count, places);
    if (in_table || computes_once(symbols->total(), symbols->distinct(), width)) found.symbols = std::move(symbols);
  }
  if (!found.symbols) return py::none();
  return py::cast(std::move(found));
}

}  // namespace

void add_symbols(py::module_& m) {
  py::class_<BoundSymbols> symbols(m, "Symbols");
  symbols.def_property_readonly("rows", [](const BoundSymbols& self) {
    const auto& rows = self.symbols->rows();
    return py::array_t<int64_t>(py::ssize_t(rows.size()), rows.data());
  });
  symbols.def_property_readonly("places", [](const BoundSymbols& self) {
    return py::array_t<int32_t>({self.symbols->steps(), self.symbols->batch()}, self.symbols->places().data());
  });
  deleted_by_holder(symbols);
  m.def("symbols", &find_symbols, py::arg("ids"), py::arg("lengths"), py::arg("count"), py::arg("width"),
        py::arg("in_table") = false);
  py::class_<BoundTableBase> table(m, "InputTable");
  deleted_by_holder(table);
}

}  // namespace pylstm
