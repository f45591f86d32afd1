// The plain recurrent network of Elman 1990: h' = tanh or relu of (W x + b_ih + R h + b_hh).
#pragma once

#include "cell.h"

namespace pylstm {

inline constexpr CellSpec rnn_spec(const char* name, StageId forward, StageId backward) {
  return {.name = name,
          .gates = 1,
          .columns = 1,
          .r_column = {0},
          .r_operand = {{Where::prev_h}},
          .forward = {{.id = forward,
                       .weight = Param::weight_hh,
                       .takes_x = true,
                       .operand = {Where::prev_h},
                       .gates = 1,
                       .columns = 1,
                       .out = {{Where::h}}}},
          .backward = {{.id = backward,
                        .weight = Param::weight_hh,
                        .operand = Where::d_gate_next,
                        .segments = {{0, 0, 1}},
                        .in = {{Where::d_output}, {Where::d_state}, {Where::h}},
                        .out = {{Where::d_gate, 0}}}}};
}
inline constexpr CellSpec rnn_tanh_spec = rnn_spec("rnn_tanh", StageId::rnn_tanh, StageId::d_rnn_tanh);
inline constexpr CellSpec rnn_relu_spec = rnn_spec("rnn_relu", StageId::rnn_relu, StageId::d_rnn_relu);

}  // namespace pylstm
