// A cell as the loops read it: plain numbers, derived by describe.h from the one description in the cell's file, and
// the same for all cells. The loops walk over what is declared here and name no cell.
//
// A step of a cell is one or more *stages*. A stage is a product, `accumulators = bias + x . W + operand . R`, followed
// by an epilogue that turns the accumulators of a unit into its new state. Most cells have one; a second one follows
// where a product needs what the first has made for all units: the GRU with reset before the product, the projection of
// an LSTM. The backward pass is made of stages in the same way; the product of each goes back through that of a forward
// stage. A stage whose arithmetic couples the units of a row (a mean over them) has no product and is done row by row.
#pragma once

#include <cstddef>
#include <initializer_list>

namespace pylstm {

// A name in a description: of a cell, gate, state, record, column, parameter or constant. Also a template argument.
struct Name {
  char text[20] = {};

  constexpr Name() = default;
  constexpr Name(const char* from) {
    for (int i = 0; from[i]; ++i) text[i] = from[i];  // does not compile where it is too long
  }
  constexpr bool operator==(const Name&) const = default;
  constexpr bool empty() const { return text[0] == 0; }
};

// How wide a row is. `output` is the width of h, `hidden` that of the cell: they differ where a projection follows.
enum class Size { one, input, hidden, output };

// The rows a stage can read and write, each with an index.
enum class Where {
  none,
  state,       // state after this step; number 0 is h, the output
  previous,    // the same before this step
  record,      // what a step keeps: for the next stage, the next step or the backward pass
  parameter,   // a parameter that is a vector over the units: one row for all sequences
  constant,    // a number given when the network is made: one row of copies for all sequences
  mask,        // random numbers: the same in the backward pass; in inference their mean
  d_output,    // gradient that reaches h from outside the layer
  d_state,     // gradient to a state after this step, but d_output and the product with the step after
  d_previous,  // gradient to a state before this step, but through the product
  d_record,    // gradient to a record, from one backward stage of this step to the next
  d_column,    // gradient to an accumulator, this step
  d_parameter  // this step's part of the gradient to a parameter that is a vector
};
constexpr int where_count = 13;

struct Ref {
  Where where = Where::none;
  int index = 0;
  constexpr bool operator==(const Ref&) const = default;
};

enum class ParamKind {
  matrix,          // of a product: blocks of rows, of which each adds to an accumulator
  bias_of_x,       // added to what x adds to, block by block
  bias_of_states,  // added to what the operands add to
  vector           // over the units, read by stages
};

// A parameter of shape (blocks * rows, columns), or (blocks * rows,) where columns is one.
struct ParamSpec {
  Name name;
  ParamKind kind = ParamKind::matrix;
  int blocks = 1;
  Size rows = Size::hidden, columns = Size::one;
  bool optional = false;  // may be absent: zeros
};

struct RowSpec {
  Name name;
  Size width = Size::hidden;
};

// `example`: the value with which the gradients are checked while compiling.
struct ConstantSpec {
  Name name;
  double example = 0;
};

// A row that is zero where a random number falls below a probability, which is a constant; drawn anew for every
// sequence and every step, or for every sequence. What is not zero is 1, or such that the mean is 1.
enum class Drawn { each_step, each_sequence };
enum class Kept { one, scaled };
struct MaskSpec {
  Name name, probability;
  Drawn drawn = Drawn::each_step;
  Kept kept = Kept::one;
  Size width = Size::hidden;
};

// An accumulator of a unit: the blocks of rows of weight_ih and of its stage's matrix that add to it, or -1.
struct Column {
  Name name;
  Size width = Size::hidden;
  int x = -1, operand = -1;
};

// Neighbouring columns whose blocks in a matrix are neighbours, too.
struct Run {
  int column = 0, block = 0, count = 0;
};

// A description may have as many; what the loops provide for follows from the list (list.h).
constexpr int most = 32;

template <class T>
struct List {
  T items[most] = {};
  int count = 0;

  constexpr List() = default;
  constexpr List(std::initializer_list<T> from) {
    for (const T& item : from) add(item);
  }
  constexpr void add(const T& item) { items[count++] = item; }
  constexpr const T* begin() const { return items; }
  constexpr const T* end() const { return items + count; }
  constexpr const T& operator[](int i) const { return items[i]; }
  constexpr T& operator[](int i) { return items[i]; }
  constexpr int find(const T& item) const {
    for (int i = 0; i < count; ++i)
      if (items[i] == item) return i;
    return -1;
  }
};

struct StageSpec {
  int id = 0;                 // place in the Kernels table
  Size width = Size::hidden;  // of its output
  List<Ref> in, out;          // what only the backward pass reads comes last in out
  int kept = 0;               // the others
  bool whole_rows = false;    // done row by row, not unit by unit; there is no product
};

struct ForwardStage : StageSpec {
  int x_matrix = -1, matrix = -1;  // parameters that multiply x and the operand, or -1
  Ref operand;
  int column = 0, columns = 0;  // its accumulators, of those of the cell
  List<Run> runs;               // of its columns in the operand's matrix

  constexpr bool later() const { return operand.where == Where::previous; }  // its gradient comes from the step after
};

struct BackwardStage : StageSpec {
  int through = -1;  // the forward stage through whose product it goes back, or -1
};

struct CellSpec {
  Name name;
  List<Name> gates;  // blocks of rows of the matrix that multiplies x
  List<RowSpec> states, records;
  List<ParamSpec> parameters;
  List<ConstantSpec> constants;
  List<MaskSpec> masks;
  List<Column> columns;
  List<ForwardStage> forward;
  List<BackwardStage> backward;
  int x_matrix = -1;
  bool projects = false;     // h may be narrower than the cell
  bool carries[most] = {};   // state i is passed on beside the product with the step after
  bool d_record[most] = {};  // the gradient to record i goes from one backward stage to another

  // Where state i >= 1 after a step is kept: records that follow the declared ones.
  constexpr int record_of_state(int i) const { return records.count - states.count + i; }

  // The columns of x: the first ones, gate by gate.
  constexpr List<Run> x_runs() const { return {{0, 0, gates.count}}; }

  // The place of a constant; -1: there is none of that name.
  constexpr int constant(const Name& constant_name) const {
    for (int i = 0; i < constants.count; ++i)
      if (constants[i].name == constant_name) return i;
    return -1;
  }

  // Behind the last column that a bias adds to.
  constexpr int bias_columns() const {
    int end = 0;
    for (const ForwardStage& stage : forward)
      for (int c = stage.column; c < stage.column + stage.columns; ++c)
        for (const ParamSpec& p : parameters)
          if (bias_block(p, stage, columns[c]) >= 0) end = c + 1;
    return end;
  }

  // The block of a bias that adds to a column of a stage, or -1.
  constexpr int bias_block(const ParamSpec& bias, const ForwardStage& stage, const Column& column) const {
    if (bias.kind == ParamKind::bias_of_x) return column.x;
    if (bias.kind != ParamKind::bias_of_states || stage.matrix < 0) return -1;
    const ParamSpec& matrix = parameters[stage.matrix];
    return matrix.blocks == bias.blocks && matrix.rows == bias.rows ? column.operand : -1;
  }
};

// Accumulator vectors side by side in a block of units: the four gates of one vector of units, or four vectors of units
// of a stage with one column.
constexpr int block_columns = 4;

// Whether the gates of the last few units share vectors: where each of the two operands adds to all four columns of a
// block. Asked by who packs and by who multiplies.
constexpr bool shares_vectors(int columns, int x_columns, int operand_columns) {
  return columns == block_columns && x_columns == columns && operand_columns == columns;
}

// The cells, and one by its name; null if there is none of that name.
const CellSpec* begin_cells();
const CellSpec* end_cells();
const CellSpec* find_cell(const char* name);

}  // namespace pylstm
