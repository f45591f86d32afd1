// The stages as the kernels run them: the arithmetic of a cell's file on vectors, its rows found by name while
// compiling.
#pragma once

#include <cstdint>
#include <type_traits>

#include "products/product.h"
#include "simd/math.h"

namespace pylstm {
namespace {

// What `apply` of a stage reads and writes.
template <class V, class Kernel>
struct StageIo {
  const V* sums;
  const V* in;
  V* out;

  template <Name NAME>
  V operator[](cells::SumKey<NAME>) const {
    constexpr int at = cells::place(Kernel::cell.columns, NAME) - Kernel::spec.column;
    static_assert(at >= 0 && at < Kernel::spec.columns);
    return sums[at];
  }
  V operator[](cells::ProductKey) const { return sums[0]; }
  template <Where WHERE, Name NAME>
  V operator[](cells::Key<WHERE, NAME>) const {
    constexpr int at = Kernel::spec.in.find(cells::ref_of(Kernel::cell, {WHERE, NAME}));
    static_assert(at >= 0);
    return in[at];
  }
  template <Where WHERE, Name NAME>
  void put(cells::Key<WHERE, NAME>, V value) {
    constexpr int at = Kernel::spec.out.find(cells::ref_of(Kernel::cell, {WHERE, NAME}));
    static_assert(at >= 0);
    out[at] = value;
  }
};

// Which inputs of a stage are constants.
constexpr uint32_t constants_among(const List<Ref>& in) {
  uint32_t found = 0;
  for (int i = 0; i < in.count; ++i) found |= uint32_t(in[i].where == Where::constant) << i;
  return found;
}

template <int CELL, int INDEX, class Stage>
struct ForwardKernel {
  static constexpr const CellSpec& cell = cell_specs[CELL];
  static constexpr const ForwardStage& spec = cell.forward[INDEX];
  static constexpr bool takes_x = spec.x_matrix >= 0;
  static constexpr TileShape shape = tile_shape(cell, spec);
  using Arithmetic = Stage;
  static constexpr int inputs = spec.in.count, outputs = spec.kept, saved = spec.out.count - spec.kept;
  static constexpr uint32_t constants = constants_among(spec.in);
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    StageIo<V, ForwardKernel> io{a, in, out};
    Stage::apply(io);
  }
};

template <int CELL, int INDEX, class Stage>
struct BackwardKernel {
  static constexpr const CellSpec& cell = cell_specs[CELL];
  static constexpr const BackwardStage& spec = cell.backward[INDEX];
  static constexpr TileShape shape = dense(1);
  using Arithmetic = Stage;
  static constexpr int inputs = spec.in.count, outputs = spec.out.count, saved = 0;
  static constexpr uint32_t constants = constants_among(spec.in);
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    StageIo<V, BackwardKernel> io{a, in, out};
    Stage::apply(io);
  }
};

struct LinearKernel {
  static constexpr TileShape shape = dense(1);
  static constexpr int inputs = 0, outputs = 1, saved = 0;
  static constexpr uint32_t constants = 0;
  template <class V>
  static void apply(const V* a, const V*, V* out) {
    out[0] = a[0];
  }
};

struct AddKernel {
  static constexpr TileShape shape = dense(1);
  static constexpr int inputs = 1, outputs = 1, saved = 0;
  static constexpr uint32_t constants = 0;
  template <class V>
  static void apply(const V* a, const V* in, V* out) {
    out[0] = a[0] + in[0];
  }
};

}  // namespace
}  // namespace pylstm
