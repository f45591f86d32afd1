#include "cells/cell.h"
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

// Name -> width, in order.
py::dict rows(const List<RowSpec>& specs) {
  py::dict found;
  for (const RowSpec& spec : specs) found[spec.name.text] = size_name(spec.width);
  return found;
}

// What the file of a cell in csrc/cells/ says of it.
py::dict describe(const CellSpec& cell) {
  py::list gates;
  for (const Name& gate : cell.gates) gates.append(gate.text);
  py::dict parameters, found;
  for (const ParamSpec& p : cell.parameters)
    parameters[p.name.text] = py::make_tuple(p.blocks, size_name(p.rows), size_name(p.columns), p.optional);
  List<RowSpec> records;  // without the states, which follow
  for (int i = 0; i < cell.record_of_state(1); ++i) records.add(cell.records[i]);
  found["gates"] = py::tuple(gates);
  found["states"] = rows(cell.states);
  found["records"] = rows(records);
  py::list constants, masks;
  for (const ConstantSpec& constant : cell.constants) constants.append(constant.name.text);
  found["parameters"] = parameters;
  for (const MaskSpec& mask : cell.masks) masks.append(mask.name.text);
  found["constants"] = py::tuple(constants);
  found["masks"] = py::tuple(masks);
  found["projects"] = cell.projects;
  return found;
}

py::dict describe_all() {
  py::dict found;
  for (const CellSpec* cell = begin_cells(); cell != end_cells(); ++cell) found[cell->name.text] = describe(*cell);
  return found;
}

}  // namespace

void add_cells(py::module_& m) { m.def("cells", &describe_all); }

}  // namespace pylstm
