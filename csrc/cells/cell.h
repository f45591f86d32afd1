// What a cell is to the rest of the library: a CellSpec (data, read by the portable time loop, which never names a
// cell) and one struct per stage (arithmetic on vectors, compiled once per ISA).
//
// A step of a cell is one or more *stages*. A stage is a product, `accumulators = bias + x . W + operand . R`, followed
// by an epilogue that turns the accumulators of a unit into its new state. Most cells have one; a second one follows
// where a product needs what the first has made for all units: the GRU with reset before the product, the projection of
// an LSTM. The backward pass is made of stages in the same way.
//
// A stage struct declares
//     static constexpr StageId id;                     its place in the Kernels table
//     using Map = ColumnMap<...>;                      which accumulators x and the operand add to
//     static constexpr int inputs, outputs, saved;     the refs it takes; `saved` more outputs only the backward reads
//     template <class V> static void apply(const V* a, const V* in, V* out);
// where a[c] is the accumulator of column c, and in and out follow the refs of the StageSpec in order.
#pragma once

namespace pylstm {

enum class StageId : int {
  lstm,
  gru_after,
  gru_before_gates,
  gru_before_candidate,
  rnn_tanh,
  rnn_relu,
  linear,  // the product itself: projection
  add,     // the product plus what is there: gradients to x and to the initial state
  d_lstm,
  d_lstm_projected,
  d_projection,
  d_gru_after,
  d_gru_before_candidate,
  d_gru_before_reset,
  d_rnn_tanh,
  d_rnn_relu,
  count
};
constexpr int stage_count = static_cast<int>(StageId::count);

constexpr int max_gates = 4, max_columns = 4, max_stages = 2, max_refs = 9, max_states = 2, max_segments = 2;

// Widths that occur: that of the cell, and that of h (smaller where a projection follows the cell).
enum class Width { hidden, output };

// The rows a stage can read and write.
enum class Where {
  none,
  h,            // output of this step
  prev_h,       // output of the step before, or the initial state
  state,        // state number `index` after this step (index >= 1; h is state 0)
  prev_state,   // the same before this step
  record,       // column `index` of what a step keeps: for the next stage, the next step or the backward pass
  d_output,     // gradient that reaches h from outside the layer
  d_state,      // gradient that reaches h through h_n, and what `carry` holds of state 0
  carry,        // gradient of state `index` on its way to the step before
  d_gate,       // column `index` of the gradients to the accumulators, this step
  d_gate_next,  // the same of the step after
};
struct Ref {
  Where where = Where::none;
  int index = 0;
};

// A run of gates in a row of the gradients to the accumulators, and the rows of the weight matrix they came from.
struct Segment {
  int column = 0;  // first column
  int gate = 0;    // first gate
  int count = 0;
};

enum class Param { weight_ih, weight_hh, bias_ih, bias_hh, weight_hr };
constexpr int param_count = 5;

struct ForwardStage {
  StageId id = StageId::count;
  Param weight = Param::weight_hh;  // the matrix that multiplies the operand
  bool takes_x = false;
  Ref operand;
  int gate = 0, gates = 0;      // the gates of weight_ih and of `weight` that this stage computes
  int column = 0, columns = 0;  // the accumulators it has, of the columns of the cell
  Width width = Width::hidden;  // of its output
  Ref in[max_refs], out[max_refs];
};

struct BackwardStage {
  StageId id = StageId::count;
  Param weight = Param::weight_hh;
  Where operand = Where::none;  // d_gate or d_gate_next
  Segment segments[max_segments];
  Width width = Width::hidden;
  Ref in[max_refs], out[max_refs];
};

struct CellSpec {
  const char* name = "";
  int gates = 0;                  // rows of weight_ih and weight_hh, in units of hidden_size
  int columns = 0;                // accumulators of a unit over all stages
  int r_column[max_gates] = {};   // the column that gate g of weight_hh adds to; of weight_ih it is column g
  Ref r_operand[max_gates] = {};  // what gate g of weight_hh multiplies
  int states = 1;
  int state_record[max_states] = {};  // the record column that holds state i >= 1
  int records = 0;                    // columns a step keeps, hidden_size wide each
  bool projection = false;            // weight_hr: record column r_record -> h, its gradient in column `columns`
  int projected_record = 0;
  bool carries_h = false;  // the cell passes h on beside the product (GRU)
  int forward_stages = 1, backward_stages = 1;
  ForwardStage forward[max_stages];
  BackwardStage backward[max_stages];
};

// The cells by the name the Python layers give them; null if there is none of that name.
const CellSpec* find_cell(const char* name);

}  // namespace pylstm
