#include "cells/functions.h"
#include "python/bindings.h"

namespace pylstm {
namespace {

const char* size_name(Size size) {
  switch (size) {
    case Size::input:
      return "input";
    case Size::hidden:
      return "hidden";
    case Size::output:
      return "output";
    case Size::one:
      break;
  }
  return "one";
}

const char* kind_name(ParamKind kind) {
  switch (kind) {
    case ParamKind::bias_of_x:
      return "bias_of_x";
    case ParamKind::bias_of_states:
      return "bias_of_states";
    case ParamKind::vector:
      return "vector";
    case ParamKind::matrix:
      break;
  }
  return "matrix";
}

// Name -> width, in order.
py::dict rows(const List<RowSpec>& specs) {
  py::dict found;
  for (const RowSpec& spec : specs) found[spec.name.text] = size_name(spec.width);
  return found;
}

// What the file of a cell in csrc/cells/ says of it.
py::dict describe(const CellSpec& cell, const cells::Functions& functions) {
  py::list gates;
  for (const Name& gate : cell.gates) gates.append(gate.text);
  py::dict parameters, function_of, found;
  for (const ParamSpec& p : cell.parameters)
    parameters[p.name.text] =
        py::make_tuple(kind_name(p.kind), p.blocks, size_name(p.rows), size_name(p.columns), p.optional);
  List<RowSpec> records;  // without the states, which follow
  for (int i = 0; i < cell.record_of_state(1); ++i) records.add(cell.records[i]);
  for (int i = 0; i < functions.rows.count; ++i) function_of[functions.rows[i].text] = functions.of[i].text;
  found["gates"] = py::tuple(gates);
  found["states"] = rows(cell.states);
  found["records"] = rows(records);
  found["parameters"] = parameters;
  py::list constants, masks;
  for (const ConstantSpec& constant : cell.constants) constants.append(constant.name.text);
  for (const MaskSpec& mask : cell.masks) masks.append(mask.name.text);
  found["constants"] = py::tuple(constants);
  found["masks"] = py::tuple(masks);
  found["projects"] = cell.projects;
  found["functions"] = function_of;
  found["activations"] = functions.activations;
  return found;
}

template <class... C>
py::dict describe_all(CellList<C...>) {
  py::dict found;
  ((found[C::name.text] = describe(*find_cell(C::name.text), cells::functions_of(typename C::forward()))), ...);
  return found;
}

}  // namespace

void add_cells(py::module_& m) {
  m.def("cells", [] { return describe_all(Cells()); });
  m.def("activations", [] {
    py::list names;
    for (const Name& name : cells::activation_names) names.append(name.text);
    return names;
  });
}

}  // namespace pylstm
