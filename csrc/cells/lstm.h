// Long short-term memory: Hochreiter & Schmidhuber 1997, forget gate of Gers, Schmidhuber & Cummins 2000, projection
// of Sak, Senior & Beaufays 2014. Gate order i, f, g, o, as torch.nn.LSTM.
#pragma once

#include "cell.h"

namespace pylstm {

namespace lstm {
// What a step keeps. `m` is the hidden vector in front of a projection.
enum Record { i, f, g, o, c, m };
}  // namespace lstm

inline constexpr ForwardStage lstm_gates(Ref h) {
  return {.id = StageId::lstm,
          .weight = Param::weight_hh,
          .takes_x = true,
          .operand = {Where::prev_h},
          .gate = 0,
          .gates = 4,
          .column = 0,
          .columns = 4,
          .width = Width::hidden,
          .in = {{Where::prev_state, 1}},
          .out = {h,
                  {Where::state, 1},
                  {Where::record, lstm::i},
                  {Where::record, lstm::f},
                  {Where::record, lstm::g},
                  {Where::record, lstm::o}}};
}

inline constexpr CellSpec lstm_spec = {
    .name = "lstm",
    .gates = 4,
    .columns = 4,
    .r_column = {0, 1, 2, 3},
    .r_operand = {{Where::prev_h}, {Where::prev_h}, {Where::prev_h}, {Where::prev_h}},
    .states = 2,
    .state_record = {0, lstm::c},
    .records = 5,
    .forward = {lstm_gates({Where::h})},
    .backward = {
        {.id = StageId::d_lstm,
         .weight = Param::weight_hh,
         .operand = Where::d_gate_next,
         .segments = {{0, 0, 4}},
         .width = Width::hidden,
         .in = {{Where::carry, 1},
                {Where::prev_state, 1},
                {Where::state, 1},
                {Where::record, lstm::i},
                {Where::record, lstm::f},
                {Where::record, lstm::g},
                {Where::record, lstm::o},
                {Where::d_output},
                {Where::d_state}},
         .out = {{Where::carry, 1}, {Where::d_gate, 0}, {Where::d_gate, 1}, {Where::d_gate, 2}, {Where::d_gate, 3}}}}};

// The same cell with h = weight_hr . m behind it.
inline constexpr CellSpec lstm_projected_spec = {
    .name = "lstm_projected",
    .gates = 4,
    .columns = 4,
    .r_column = {0, 1, 2, 3},
    .r_operand = {{Where::prev_h}, {Where::prev_h}, {Where::prev_h}, {Where::prev_h}},
    .states = 2,
    .state_record = {0, lstm::c},
    .records = 6,
    .projection = true,
    .projected_record = lstm::m,
    .forward_stages = 2,
    .backward_stages = 2,
    .forward = {lstm_gates({Where::record, lstm::m}),
                {.id = StageId::linear,
                 .weight = Param::weight_hr,
                 .operand = {Where::record, lstm::m},
                 .gates = 1,
                 .columns = 1,
                 .width = Width::output,
                 .out = {{Where::h}}}},
    .backward = {
        {.id = StageId::d_projection,
         .weight = Param::weight_hh,
         .operand = Where::d_gate_next,
         .segments = {{0, 0, 4}},
         .width = Width::output,
         .in = {{Where::d_output}, {Where::d_state}},
         .out = {{Where::d_gate, 4}}},
        {.id = StageId::d_lstm_projected,
         .weight = Param::weight_hr,
         .operand = Where::d_gate,
         .segments = {{4, 0, 1}},
         .width = Width::hidden,
         .in = {{Where::carry, 1},
                {Where::prev_state, 1},
                {Where::state, 1},
                {Where::record, lstm::i},
                {Where::record, lstm::f},
                {Where::record, lstm::g},
                {Where::record, lstm::o}},
         .out = {{Where::carry, 1}, {Where::d_gate, 0}, {Where::d_gate, 1}, {Where::d_gate, 2}, {Where::d_gate, 3}}}}};

}  // namespace pylstm
