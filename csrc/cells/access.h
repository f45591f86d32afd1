// What the struct of a cell says, one thing at a time: what the arithmetic of a stage reads and writes, found by
// running it, and what its other members are where it has them.
#pragma once

#include <type_traits>

#include "describe.h"
#include "number.h"

namespace pylstm::cells {
namespace {

// What the arithmetic of a stage reads and writes, by name and in its order.
struct Access {
  Where where = Where::none;
  Name name;
  constexpr bool operator==(const Access&) const = default;
};
struct Accesses {
  List<Access> reads, writes;
  List<Name> sums;
  bool product = false;
  Access written_twice;
};

struct Recorder {
  Accesses& found;

  template <Where WHERE, Name NAME>
  constexpr Number operator[](Key<WHERE, NAME>) {
    if (found.reads.find({WHERE, NAME}) < 0) found.reads.add({WHERE, NAME});
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
    const Access access{WHERE, NAME};
    if (found.writes.find(access) < 0)
      found.writes.add(access);
    else
      found.written_twice = access;
  }
};

template <class Stage>
constexpr Accesses accesses() {
  Accesses found;
  Recorder io{found};
  Stage::apply(io);
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
