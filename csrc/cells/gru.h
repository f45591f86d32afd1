// Gated recurrent unit. Gate order r, z, n, as torch.nn.GRU.
//   reset after the product (cuDNN, torch, Keras' default):  n = tanh(W_n x + b_in + r * (R_n h + b_hn))
//   reset before it (Cho et al. 2014, Keras' reset_after=False, ONNX linear_before_reset=0):
//                                                            n = tanh(W_n x + b_in + R_n (r * h) + b_hn)
//   both:                                                    h' = (1 - z) * n + z * h
#pragma once

#include "cell.h"

namespace pylstm {

namespace gru {
enum After { r, z, n, nh };  // nh = R_n h + b_hn; also the columns: the halves of the candidate stay apart
enum Before { before_r, before_z, before_n, rh };
}  // namespace gru

inline constexpr CellSpec gru_after_spec = {.name = "gru_after",
                                            .gates = 3,
                                            .columns = 4,
                                            .r_column = {gru::r, gru::z, gru::nh},
                                            .r_operand = {{Where::prev_h}, {Where::prev_h}, {Where::prev_h}},
                                            .records = 4,
                                            .carries_h = true,
                                            .forward = {{.id = StageId::gru_after,
                                                         .weight = Param::weight_hh,
                                                         .takes_x = true,
                                                         .operand = {Where::prev_h},
                                                         .gate = 0,
                                                         .gates = 3,
                                                         .column = 0,
                                                         .columns = 4,
                                                         .in = {{Where::prev_h}},
                                                         .out = {{Where::h},
                                                                 {Where::record, gru::r},
                                                                 {Where::record, gru::z},
                                                                 {Where::record, gru::n},
                                                                 {Where::record, gru::nh}}}},
                                            .backward = {{.id = StageId::d_gru_after,
                                                          .weight = Param::weight_hh,
                                                          .operand = Where::d_gate_next,
                                                          .segments = {{0, 0, 2}, {gru::nh, 2, 1}},
                                                          .in = {{Where::d_output},
                                                                 {Where::d_state},
                                                                 {Where::prev_h},
                                                                 {Where::record, gru::r},
                                                                 {Where::record, gru::z},
                                                                 {Where::record, gru::n},
                                                                 {Where::record, gru::nh}},
                                                          .out = {{Where::carry, 0},
                                                                  {Where::d_gate, gru::r},
                                                                  {Where::d_gate, gru::z},
                                                                  {Where::d_gate, gru::n},
                                                                  {Where::d_gate, gru::nh}}}}};

inline constexpr CellSpec gru_before_spec = {
    .name = "gru_before",
    .gates = 3,
    .columns = 3,
    .r_column = {0, 1, 2},
    .r_operand = {{Where::prev_h}, {Where::prev_h}, {Where::record, gru::rh}},
    .records = 4,
    .carries_h = true,
    .forward_stages = 2,
    .backward_stages = 2,
    .forward = {{.id = StageId::gru_before_gates,
                 .weight = Param::weight_hh,
                 .takes_x = true,
                 .operand = {Where::prev_h},
                 .gate = 0,
                 .gates = 2,
                 .column = 0,
                 .columns = 2,
                 .in = {{Where::prev_h}},
                 .out = {{Where::record, gru::before_z}, {Where::record, gru::rh}, {Where::record, gru::before_r}}},
                {.id = StageId::gru_before_candidate,
                 .weight = Param::weight_hh,
                 .takes_x = true,
                 .operand = {Where::record, gru::rh},
                 .gate = 2,
                 .gates = 1,
                 .column = 2,
                 .columns = 1,
                 .in = {{Where::prev_h}, {Where::record, gru::before_z}},
                 .out = {{Where::h}, {Where::record, gru::before_n}}}},
    .backward = {{.id = StageId::d_gru_before_candidate,
                  .weight = Param::weight_hh,
                  .operand = Where::d_gate_next,
                  .segments = {{0, 0, 2}},
                  .in = {{Where::d_output},
                         {Where::d_state},
                         {Where::prev_h},
                         {Where::record, gru::before_z},
                         {Where::record, gru::before_n}},
                  .out = {{Where::carry, 0}, {Where::d_gate, gru::before_z}, {Where::d_gate, gru::before_n}}},
                 {.id = StageId::d_gru_before_reset,
                  .weight = Param::weight_hh,
                  .operand = Where::d_gate,
                  .segments = {{2, 2, 1}},
                  .in = {{Where::carry, 0}, {Where::prev_h}, {Where::record, gru::before_r}},
                  .out = {{Where::carry, 0}, {Where::d_gate, gru::before_r}}}}};

}  // namespace pylstm
