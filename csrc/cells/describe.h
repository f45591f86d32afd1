// How the file of a cell says what it is: its names, its parameters and its stages, each with its arithmetic. What a
// stage reads and writes is not listed anywhere: it is read off the arithmetic, which is run once while compiling
// (derive.h), so the two cannot disagree.
//
// A forward stage is a struct with
//     static constexpr Product product = {.matrix = "weight_hh", .operand = previous<"h">};    optional
//     static constexpr List<ColumnSpec> columns = {both("r"), both("z"), of_x("n"), of_operand("nh", "n")};
//     static constexpr Size width = Size::output;                                              optional: hidden
//     template <class Io> static constexpr void apply(Io& io);
// and a backward stage with
//     using through = Step;        the forward stage through whose product the gradient comes; optional
// in place of `product` and `columns`. In apply,
//     io[sum<"r">]                 is the accumulator of a column, io[product] what has come through the product,
//     io[previous<"h">]            any row of the list below,
//     io.put(state<"h">, value)    writes one.
// A cell may also declare
//     static constexpr List<ConstantSpec> constants = {{"clip", 0.7}};    as io[constant<"clip">]
//     static constexpr List<MaskSpec> masks = {{"zone", "zoneout"}};     as io[mask<"zone">]; "zoneout" is a constant
// Vectors have + - * / < > ?: and the functions fma, exp, tanh, sigmoid, relu, sqrt, rsqrt, abs, tanh_slope and
// sigmoid_slope, and log1p from 0 to 1. A function that is chosen by constants is in activations.h. All of it lives in
// an unnamed namespace, since it is compiled once per instruction set.
//
// A stage that needs whole rows, as a normalisation does, has in place of apply, and without product, columns, through
//     template <class Row> static constexpr void apply_row(Row& row);
// In it,
//     row.mean([&](auto& u) { return u[record<"a">]; })    goes over the units of the row; also row.sum and row.max,
//     row.each([&](auto& u) { u.put(record<"n">, ..); })    the same without a result,
//     row[record<"scale">], row.put(record<"scale">, v)     are for rows of Size::one.
// u is what io is in apply. What the stage has written it can read from then on, but d_column and d_parameter.
#pragma once

#include "cell.h"

#if defined(PYLSTM_ISA_HEADER)
#include "simd/math.h"  // before the cells: a template finds functions of vectors only where it is written
#endif

namespace pylstm::cells {
namespace {

template <Where WHERE, Name NAME>
struct Key {
  static constexpr Where where = WHERE;
  static constexpr Name name = NAME;
};
template <Name NAME>
struct SumKey {};
struct ProductKey {};

// In a forward stage. `state` is read behind the stage that has written it.
template <Name NAME>
constexpr SumKey<NAME> sum{};
template <Name NAME>
constexpr Key<Where::state, NAME> state{};
template <Name NAME>
constexpr Key<Where::previous, NAME> previous{};
template <Name NAME>
constexpr Key<Where::record, NAME> record{};
template <Name NAME>
constexpr Key<Where::parameter, NAME> parameter{};
template <Name NAME>
constexpr Key<Where::constant, NAME> constant{};
template <Name NAME>
constexpr Key<Where::mask, NAME> mask{};

// In a backward stage, which reads those above as well, but for `sum`. The gradient to h after a step is product +
// d_output + d_state<"h">; to another state it is d_state. What reaches a state before the step beside the product goes
// to d_previous; what one backward stage hands to a later one of the step, as the gradient to a record, to d_record.
constexpr ProductKey product{};
constexpr Key<Where::d_output, "d_output"> d_output{};
template <Name NAME>
constexpr Key<Where::d_state, NAME> d_state{};
template <Name NAME>
constexpr Key<Where::d_previous, NAME> d_previous{};
template <Name NAME>
constexpr Key<Where::d_record, NAME> d_record{};
template <Name NAME>
constexpr Key<Where::d_column, NAME> d_column{};
template <Name NAME>
constexpr Key<Where::d_parameter, NAME> d_parameter{};

// What a stage's matrix multiplies: the h before the step, or what an earlier stage has recorded.
struct Product {
  Name matrix;
  Where where = Where::none;
  Name operand;

  constexpr Product() = default;
  template <Where WHERE, Name NAME>
  constexpr Product(Name matrix_, Key<WHERE, NAME>) : matrix(matrix_), where(WHERE), operand(NAME) {}
};

// The gates of weight_ih and of the stage's matrix that add to a column. A matrix of one block has the gate `whole`.
struct ColumnSpec {
  Name name, x, operand;
};
constexpr Name whole = "whole";
constexpr ColumnSpec both(Name gate) { return {gate, gate, gate}; }
constexpr ColumnSpec of_x(Name gate) { return {gate, gate, {}}; }
constexpr ColumnSpec of_operand(Name name, Name gate) { return {name, {}, gate}; }

constexpr int each_gate = 0;  // blocks of a parameter
constexpr ParamSpec weight_ih{"weight_ih", ParamKind::matrix, each_gate, Size::hidden, Size::input};
constexpr ParamSpec weight_hh{"weight_hh", ParamKind::matrix, each_gate, Size::hidden, Size::output};
constexpr ParamSpec weight_hr{"weight_hr", ParamKind::matrix, 1, Size::output, Size::hidden};
constexpr ParamSpec bias_ih{"bias_ih", ParamKind::bias_of_x, each_gate, Size::hidden, Size::one, true};
constexpr ParamSpec bias_hh{"bias_hh", ParamKind::bias_of_states, each_gate, Size::hidden, Size::one, true};
constexpr ParamSpec unit_vector(Name name) { return {name, ParamKind::vector, 1, Size::hidden, Size::one}; }

template <class... S>
struct Stages {};

}  // namespace
}  // namespace pylstm::cells
