// From the struct of a cell (describe.h) to what the loops read (cell.h): the arithmetic of every stage is run once
// while compiling, and what it reads and writes is what the stage's rows are. A description that cannot be right does
// not compile; the compiler's message names the cell, the fault and what it is about.
#pragma once

#include "access.h"

namespace pylstm::cells {
namespace {

enum class Fault {
  none,
  unknown_name,
  unknown_gate,
  gate_not_taken,
  sum_not_read,
  product_not_read,
  not_readable,
  not_writable,
  read_before_written,
  written_twice,
  never_written,
  never_read,
  wrong_width,
  wrong_operand,
  row_multiplies,
  wrong_gradient,
  unused_parameter,
  no_space
};

class Derivation {
 public:
  CellSpec cell;
  Fault fault = Fault::none;  // the first
  Name what;

  template <class Cell>
  constexpr void run() {
    cell.name = Cell::name;
    cell.gates = Cell::gates;
    cell.states = Cell::states;
    cell.records = Cell::records;
    for (int i = 1; i < cell.states.count; ++i) cell.records.add(cell.states[i]);
    cell.parameters = Cell::parameters;
    cell.constants = constants_of<Cell>();
    cell.masks = masks_of<Cell>();
    for (int i = 0; i < cell.parameters.count; ++i) {
      ParamSpec& p = cell.parameters[i];
      if (p.blocks == each_gate) p.blocks = cell.gates.count;
      if (p.kind == ParamKind::matrix && p.columns == Size::input) cell.x_matrix = i;
    }
    note_widths(typename Cell::forward());
    add_forward(typename Cell::forward());
    add_backward<typename Cell::forward>(typename Cell::backward());
    check();
  }

 private:
  constexpr void fail(Fault f, Name name) {
    if (fault == Fault::none) fault = f, what = name;
  }

  template <class... S>
  constexpr void note_widths(Stages<S...>) {
    cell.projects = ((width_of<S>() == Size::output) || ...);
  }
  constexpr bool differ(Size a, Size b) const {
    const auto narrow = [this](Size s) { return s == Size::output && !cell.projects ? Size::hidden : s; };
    return narrow(a) != narrow(b);
  }

  template <class... S>
  constexpr void add_forward(Stages<S...>) {
    (add_forward_stage(product_of<S>(), columns_of<S>(), width_of<S>(), takes_rows<S>, accesses<S>()), ...);
    // What no later stage and no later step reads is kept for the backward pass alone.
    for (ForwardStage& stage : mutable_forward()) sort_kept(stage);
  }
  template <class Forward, class... S>
  constexpr void add_backward(Stages<S...>) {
    (add_backward_stage(
         through_of<S, Forward>(), requires { typename S::through; }, width_of<S>(), takes_rows<S>, accesses<S>()),
     ...);
  }

  constexpr int block_of(Name name, int blocks) {
    if (name.empty()) return -1;
    const int block = blocks == cell.gates.count ? cell.gates.find(name) : name == whole ? 0 : -1;
    if (block < 0) fail(Fault::unknown_gate, name);
    return block;
  }

  static constexpr void add_to_runs(List<Run>& runs, int column, int block) {
    if (block < 0) return;
    if (runs.count) {
      Run& last = runs[runs.count - 1];
      if (last.column + last.count == column && last.block + last.count == block) {
        ++last.count;
        return;
      }
    }
    runs.add({column, block, 1});
  }

  constexpr void add_forward_stage(const Product& p, const List<ColumnSpec>& columns, Size width, bool whole_rows,
                                   const Accesses& found) {
    ForwardStage stage;
    stage.width = width, stage.whole_rows = whole_rows;
    if (whole_rows && !p.matrix.empty()) return fail(Fault::row_multiplies, p.matrix);
    if (whole_rows && columns.count) return fail(Fault::row_multiplies, columns[0].name);
    if (whole_rows && found.sums.count) return fail(Fault::row_multiplies, found.sums[0]);
    stage.column = cell.columns.count, stage.columns = columns.count;
    if (!p.matrix.empty()) {
      stage.matrix = place(cell.parameters, p.matrix);
      if (stage.matrix < 0) return fail(Fault::unknown_name, p.matrix);
      stage.operand = resolve({p.where, p.operand});
      const bool h = stage.operand == Ref{Where::previous, 0};
      if (!h && stage.operand.where != Where::record) fail(Fault::wrong_operand, p.operand);
      if (!h && !written(stage.operand)) fail(Fault::read_before_written, p.operand);
    }
    for (const ColumnSpec& spec : columns) {
      Column column{spec.name, width};
      column.x = block_of(spec.x, cell.gates.count);
      if (stage.matrix >= 0) column.operand = block_of(spec.operand, cell.parameters[stage.matrix].blocks);
      if (column.x >= 0) stage.x_matrix = cell.x_matrix;
      // The gradient to x reads the columns of its gates as one run.
      if (column.x >= 0 && column.x != cell.columns.count) fail(Fault::unknown_gate, spec.x);
      add_to_runs(stage.runs, cell.columns.count, column.operand);
      if (found.sums.find(spec.name) < 0) fail(Fault::sum_not_read, spec.name);
      cell.columns.add(column);
    }
    for (const Name& name : found.sums)
      if (place(columns, name) < 0) fail(Fault::unknown_name, name);
    if (found.product) fail(Fault::not_readable, "product");
    if (stage.columns > block_columns || stage.columns == 3) fail(Fault::no_space, columns[0].name);
    take(stage, found, true);
    cell.forward.add(stage);
  }

  constexpr void add_backward_stage(int through, bool has_through, Size width, bool whole_rows, const Accesses& found) {
    BackwardStage stage;
    stage.width = width, stage.whole_rows = whole_rows;
    if (whole_rows && (has_through || found.product)) return fail(Fault::row_multiplies, "product");
    stage.through = through;
    if (has_through != found.product || has_through != (through >= 0)) fail(Fault::product_not_read, "product");
    for (const Name& name : found.sums) fail(Fault::not_readable, name);
    take(stage, found, false);
    cell.backward.add(stage);
  }

  constexpr Ref resolve(const Access& access) {
    const Ref ref = ref_of(cell, access);
    if (ref.index < 0) fail(Fault::unknown_name, access.name);
    return ref;
  }

  constexpr Size width_at(Ref ref) const {
    switch (ref.where) {
      case Where::record:
      case Where::d_record:
        return cell.records[ref.index].width;
      case Where::mask:
        return cell.masks[ref.index].width;
      case Where::d_column:
        return cell.columns[ref.index].width;
      case Where::d_output:
        return cell.states[0].width;
      case Where::parameter:
      case Where::d_parameter:
        return cell.parameters[ref.index].rows;
      default:
        return cell.states[ref.index].width;
    }
  }

  // A constant is there in any width.
  constexpr bool fits(const Access& access, Ref ref, const StageSpec& stage) const {
    return ref.where == Where::constant || !differ(width_at(ref), access.of_row ? Size::one : stage.width);
  }

  // Whether an earlier stage of the same pass has written it.
  template <class S>
  static constexpr bool written_by(const List<S>& stages, Ref ref) {
    for (const S& stage : stages)
      if (stage.out.find(ref) >= 0) return true;
    return false;
  }
  constexpr bool written(Ref ref) const { return written_by(cell.forward, ref); }

  constexpr void take(StageSpec& stage, const Accesses& found, bool forward) {
    for (const Access& access : found.reads) {
      const Ref ref = resolve(access);
      if (ref.index < 0) continue;
      const Where w = ref.where;
      const bool own = w == Where::state || w == Where::record;
      const bool readable =
          forward ? own || w == Where::previous || w == Where::parameter || w == Where::constant || w == Where::mask
                  : w != Where::d_column && w != Where::d_parameter;
      if (!readable) fail(Fault::not_readable, access.name);
      if (readable && (own || w == Where::d_previous || w == Where::d_record) &&
          !(own ? written(ref) : written_by(cell.backward, ref)) && !(stage.whole_rows && found.own.find(access) >= 0))
        fail(Fault::read_before_written, access.name);
      if (!fits(access, ref, stage)) fail(Fault::wrong_width, access.name);
      if (stage.in.find(ref) < 0) stage.in.add(ref);
    }
    if (found.written_twice.where != Where::none) fail(Fault::written_twice, found.written_twice.name);
    for (const Access& access : found.writes) {
      const Ref ref = resolve(access);
      if (ref.index < 0) continue;
      const Where w = ref.where;
      const bool writable =
          forward ? w == Where::state || w == Where::record
                  : w == Where::d_previous || w == Where::d_column || w == Where::d_parameter || w == Where::d_record;
      if (!writable) fail(Fault::not_writable, access.name);
      const bool again = forward ? written(ref) : written_by(cell.backward, ref);
      if (writable && again && w != Where::d_previous && w != Where::d_record) fail(Fault::written_twice, access.name);
      if (!fits(access, ref, stage)) fail(Fault::wrong_width, access.name);
      stage.out.add(ref);
    }
  }

  struct Range {
    ForwardStage *first, *last;
    constexpr ForwardStage* begin() const { return first; }
    constexpr ForwardStage* end() const { return last; }
  };
  constexpr Range mutable_forward() { return {cell.forward.items, cell.forward.items + cell.forward.count}; }

  constexpr void sort_kept(ForwardStage& stage) {
    List<Ref> kept, saved;
    for (const Ref& ref : stage.out) {
      bool read = ref.where == Where::state;
      for (const ForwardStage& other : cell.forward) read = read || other.operand == ref || other.in.find(ref) >= 0;
      (read ? kept : saved).add(ref);
    }
    stage.kept = kept.count;
    stage.out = kept;
    for (const Ref& ref : saved) stage.out.add(ref);
  }

  constexpr bool read_anywhere(Ref ref) const {
    for (const ForwardStage& stage : cell.forward)
      if (stage.operand == ref || stage.in.find(ref) >= 0) return true;
    for (const BackwardStage& stage : cell.backward)
      if (stage.in.find(ref) >= 0) return true;
    return false;
  }

  constexpr void check() {
    for (int i = 0; i < cell.states.count; ++i) {
      if (!written({Where::state, i})) fail(Fault::never_written, cell.states[i].name);
      const bool carried = written_by(cell.backward, {Where::d_previous, i});
      cell.carries[i] = i > 0 || carried;
      if (i > 0 && !carried) fail(Fault::wrong_gradient, cell.states[i].name);
      if (!read_anywhere({Where::d_state, i})) fail(Fault::wrong_gradient, cell.states[i].name);
      if (i > 0 && !read_anywhere({Where::previous, i})) fail(Fault::never_read, cell.states[i].name);
    }
    if (!read_anywhere({Where::d_output, 0})) fail(Fault::wrong_gradient, cell.states[0].name);
    for (int i = 0; i + cell.states.count - 1 < cell.records.count; ++i) {
      if (!written({Where::record, i})) fail(Fault::never_written, cell.records[i].name);
      if (!read_anywhere({Where::record, i})) fail(Fault::never_read, cell.records[i].name);
      cell.d_record[i] = written_by(cell.backward, {Where::d_record, i});
      if (cell.d_record[i] && !read_anywhere({Where::d_record, i})) fail(Fault::never_read, cell.records[i].name);
    }
    for (int i = 0; i < cell.columns.count; ++i)
      if (!written_by(cell.backward, {Where::d_column, i})) fail(Fault::never_written, cell.columns[i].name);
    for (int g = 0; g < cell.gates.count; ++g) {
      bool taken = false;
      for (const Column& column : cell.columns) taken = taken || column.x == g;
      if (!taken) fail(Fault::gate_not_taken, cell.gates[g]);
    }
    check_products();
    check_parameters();
  }

  // Through the product of a stage goes the gradient to what it multiplies, once; where that is a record, its columns
  // must have theirs by then.
  constexpr void check_products() {
    for (int f = 0; f < cell.forward.count; ++f) {
      const ForwardStage& stage = cell.forward[f];
      if (stage.matrix < 0) continue;
      int times = 0;
      for (int b = 0; b < cell.backward.count; ++b) {
        if (cell.backward[b].through != f) continue;
        ++times;
        if (stage.later()) continue;
        for (int c = stage.column; c < stage.column + stage.columns; ++c) {
          bool before = false;
          for (int earlier = 0; earlier < b; ++earlier)
            before = before || cell.backward[earlier].out.find({Where::d_column, c}) >= 0;
          if (!before) fail(Fault::read_before_written, cell.columns[c].name);
        }
      }
      if (times != 1) fail(Fault::product_not_read, cell.parameters[stage.matrix].name);
    }
  }

  constexpr void check_parameters() {
    for (int i = 0; i < cell.parameters.count; ++i) {
      const ParamSpec& p = cell.parameters[i];
      if (p.kind == ParamKind::vector) {
        if (!read_anywhere({Where::parameter, i})) fail(Fault::unused_parameter, p.name);
        if (!written_by(cell.backward, {Where::d_parameter, i})) fail(Fault::wrong_gradient, p.name);
        continue;
      }
      int blocks = 0;  // that some column takes
      for (const ForwardStage& stage : cell.forward)
        for (int c = stage.column; c < stage.column + stage.columns; ++c) {
          const Column& column = cell.columns[c];
          if (p.kind != ParamKind::matrix) blocks += cell.bias_block(p, stage, column) >= 0;
          if (p.kind == ParamKind::matrix && i == cell.x_matrix) blocks += column.x >= 0;
          if (p.kind == ParamKind::matrix && stage.matrix == i) blocks += column.operand >= 0;
        }
      if (blocks == 0) fail(Fault::unused_parameter, p.name);
      if (blocks != 0 && blocks != p.blocks) fail(Fault::gate_not_taken, p.name);
    }
    for (int i = 0; i < cell.masks.count; ++i) {
      if (!read_anywhere({Where::mask, i})) fail(Fault::unused_parameter, cell.masks[i].name);
      if (cell.constant(cell.masks[i].probability) < 0) fail(Fault::unknown_name, cell.masks[i].probability);
    }
    for (int i = 0; i < cell.constants.count; ++i) {
      bool used = read_anywhere({Where::constant, i});
      for (const MaskSpec& mask : cell.masks) used = used || mask.probability == cell.constants[i].name;
      if (!used) fail(Fault::unused_parameter, cell.constants[i].name);
    }
  }
};

// One assertion a fault, in a template of the cell and of what it is about: that is what the compiler's message shows.
template <class Cell, Fault FAULT, Name WHAT>
struct Description {
  static_assert(FAULT != Fault::unknown_name, "a stage names what the cell has not declared");
  static_assert(FAULT != Fault::unknown_gate,
                "a column names a gate that its matrix does not have, or not in this place");
  static_assert(FAULT != Fault::gate_not_taken, "rows of a matrix add to no column, or to more than one");
  static_assert(FAULT != Fault::sum_not_read, "no stage reads this column");
  static_assert(FAULT != Fault::product_not_read,
                "the gradient goes back through this product never or twice, or a stage without one reads it");
  static_assert(FAULT != Fault::not_readable, "a stage reads what it cannot");
  static_assert(FAULT != Fault::not_writable, "a stage writes what it may not");
  static_assert(FAULT != Fault::read_before_written, "read before it is written");
  static_assert(FAULT != Fault::written_twice, "written twice");
  static_assert(FAULT != Fault::never_written, "no stage writes this");
  static_assert(FAULT != Fault::never_read, "written, but no stage reads this");
  static_assert(FAULT != Fault::wrong_width, "a row of another width than the stage");
  static_assert(FAULT != Fault::wrong_operand, "a product can multiply the h before the step, or a record");
  static_assert(FAULT != Fault::row_multiplies, "a stage of whole rows has no product and no columns");
  static_assert(FAULT != Fault::wrong_gradient, "no backward stage takes or leaves this gradient");
  static_assert(FAULT != Fault::unused_parameter, "no stage uses this parameter, constant or mask");
  static_assert(FAULT != Fault::no_space, "a stage can have 1, 2 or 4 columns");
  static constexpr bool right = FAULT == Fault::none;
};

template <class Cell>
constexpr Derivation derive() {
  Derivation d;
  d.run<Cell>();
  return d;
}
template <class Cell>
constexpr Derivation derivation = derive<Cell>();
// The checked description.
template <class Cell>
constexpr CellSpec described() {
  constexpr const Derivation& d = derivation<Cell>;
  static_assert(Description<Cell, d.fault, d.what>::right);
  return d.cell;
}

}  // namespace
}  // namespace pylstm::cells
