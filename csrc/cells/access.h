// What the struct of a cell says, one thing at a time: what the arithmetic of a stage reads and writes, found by
// running it, and what its other members are where it has them.
#pragma once

#include <type_traits>

#include "describe.h"
#include "number.h"

namespace pylstm::cells {
namespace {

// What the arithmetic of a stage reads and writes, by name and in its order; of_row: once a row, not for every unit.
struct Access {
  Where where = Where::none;
  Name name;
  bool of_row = false;
  constexpr bool operator==(const Access&) const = default;
};
struct Accesses {
  List<Access> reads, writes;
  List<Access> own;  // of the reads: what the stage has written before
  List<Name> sums;
  bool product = false;
  Access written_twice;
};

struct Recorder {
  Accesses& found;
  bool of_row = false;

  template <Where WHERE, Name NAME>
  constexpr Number operator[](Key<WHERE, NAME>) {
    const Access access{WHERE, NAME, of_row};
    if (found.reads.find(access) < 0) {
      found.reads.add(access);
      if (found.writes.find(access) >= 0) found.own.add(access);
    }
    return 0.5;
  }
  template <Name NAME>
  constexpr Number operator[](SumKey<NAME>) {
    if (found.sums.find(NAME) < 0) found.sums.add(NAME);
    return 0.5;
  }
  constexpr Number operator[](ProductKey) {
    found.product = true;
    return 0.5;
  }
  template <Where WHERE, Name NAME>
  constexpr void put(Key<WHERE, NAME>, Number) {
    const Access access{WHERE, NAME, of_row};
    if (found.writes.find(access) < 0)
      found.writes.add(access);
    else
      found.written_twice = access;
  }
};

struct RowRecorder : Recorder {
  template <class F>
  constexpr Number sum(const F& of_unit) {
    Recorder unit{found};
    const Number ignored = of_unit(unit);
    (void)ignored;
    return 0.5;
  }
  template <class F>
  constexpr Number mean(const F& of_unit) {
    return sum(of_unit);
  }
  template <class F>
  constexpr Number max(const F& of_unit) {
    return sum(of_unit);
  }
  template <class F>
  constexpr void each(const F& of_unit) {
    Recorder unit{found};
    of_unit(unit);
  }
};

template <class Stage>
constexpr bool takes_rows = requires(RowRecorder & row) {
  Stage::apply_row(row);
};

template <class Stage>
constexpr Accesses accesses() {
  Accesses found;
  if constexpr (takes_rows<Stage>) {
    RowRecorder row{{found, true}};
    Stage::apply_row(row);
  } else {
    Recorder io{found};
    Stage::apply(io);
  }
  return found;
}

template <class Stage>
constexpr Size width_of() {
  if constexpr (requires { Stage::width; })
    return Stage::width;
  else
    return Size::hidden;
}
template <class Stage>
constexpr Product product_of() {
  if constexpr (requires { Stage::product; })
    return Stage::product;
  else
    return {};
}
template <class Stage>
constexpr List<ColumnSpec> columns_of() {
  if constexpr (requires { Stage::columns; })
    return Stage::columns;
  else
    return {};
}

template <class Cell>
constexpr List<ConstantSpec> constants_of() {
  if constexpr (requires { Cell::constants; })
    return Cell::constants;
  else
    return {};
}

template <class Cell>
constexpr List<MaskSpec> masks_of() {
  if constexpr (requires { Cell::masks; })
    return Cell::masks;
  else
    return {};
}

// Where a forward stage stands among those of its cell; -1 for void.
template <class Stage, class... All>
constexpr int place_of(Stages<All...>) {
  int at = 0, found = -1;
  ((std::is_same_v<Stage, All> ? void(found = at++) : void(++at)), ...);
  return found;
}
template <class Stage, class Forward>
constexpr int through_of() {
  if constexpr (requires { typename Stage::through; })
    return place_of<typename Stage::through>(Forward());
  else
    return -1;
}

template <class Spec>
constexpr int place(const List<Spec>& list, Name name) {
  for (int i = 0; i < list.count; ++i)
    if (list[i].name == name) return i;
  return -1;
}

// The ref of a name; its index is -1 where the cell has none of that name.
constexpr Ref ref_of(const CellSpec& cell, const Access& access) {
  int index = -1;
  switch (access.where) {
    case Where::state:
    case Where::previous:
    case Where::d_state:
    case Where::d_previous:
      index = place(cell.states, access.name);
      break;
    case Where::record:
    case Where::d_record:
      index = place(cell.records, access.name);
      if (index >= cell.record_of_state(1)) index = -1;
      break;
    case Where::d_column:
      index = place(cell.columns, access.name);
      break;
    case Where::parameter:
    case Where::d_parameter:
      index = place(cell.parameters, access.name);
      if (index >= 0 && cell.parameters[index].kind != ParamKind::vector) index = -1;
      break;
    case Where::constant:
      index = cell.constant(access.name);
      break;
    case Where::mask:
      index = place(cell.masks, access.name);
      break;
    case Where::d_output:
      index = 0;
      break;
    case Where::none:
      break;
  }
  return {access.where, index};
}

}  // namespace
}  // namespace pylstm::cells
