// The cells. A new one is a file and a line here.
#pragma once

#include <array>

#include "derive.h"
#include "gru.h"
#include "gru_general.h"
#include "lstm.h"
#include "lstm_general.h"
#include "rnn.h"
#include "rnn_general.h"

namespace pylstm {
namespace {

template <class... C>
struct CellList {
  static constexpr int count = sizeof...(C);
};
using OwnCells = CellList<cells::Lstm, cells::LstmProjected, cells::GruAfter, cells::GruBefore, cells::Rnn<false>,
                          cells::Rnn<true>, cells::LstmGeneral, cells::LstmCoupled, cells::GruAfterGeneral,
                          cells::GruBeforeGeneral, cells::RnnGeneral>;

#if defined(PYLSTM_TEST_CELLS)
}  // namespace
}  // namespace pylstm
#include PYLSTM_TEST_CELLS
namespace pylstm {
namespace {
template <class... A, class... B>
constexpr CellList<A..., B...> join(CellList<A...>, CellList<B...>) {
  return {};
}
using Cells = decltype(join(OwnCells(), TestCells()));
#else
using Cells = OwnCells;
#endif

// Products without a cell: stages of the loops themselves.
enum class StageId : int {
  linear,  // the product itself
  add,     // the product plus what is there
  count
};

template <class... C>
constexpr std::array<CellSpec, sizeof...(C)> number(CellList<C...>) {
  std::array<CellSpec, sizeof...(C)> specs = {cells::described<C>()...};
  int id = int(StageId::count);
  for (CellSpec& cell : specs) {
    for (int i = 0; i < cell.forward.count; ++i) cell.forward[i].id = id++;
    for (int i = 0; i < cell.backward.count; ++i) cell.backward[i].id = id++;
  }
  return specs;
}
constexpr std::array<CellSpec, Cells::count> cell_specs = number(Cells());

template <class F>
constexpr int largest(const F& count) {
  int most_of_all = 1;
  for (const CellSpec& cell : cell_specs) most_of_all = count(cell) > most_of_all ? count(cell) : most_of_all;
  return most_of_all;
}
template <class F>
constexpr int largest_of_stages(const F& count) {
  return largest([&](const CellSpec& cell) {
    int most_here = 0;
    for (const ForwardStage& stage : cell.forward) most_here = count(stage) > most_here ? count(stage) : most_here;
    for (const BackwardStage& stage : cell.backward) most_here = count(stage) > most_here ? count(stage) : most_here;
    return most_here;
  });
}

}  // namespace

// What the loops provide for.
constexpr int max_states = largest([](const CellSpec& cell) { return cell.states.count; });
constexpr int max_parameters = largest([](const CellSpec& cell) { return cell.parameters.count; });
constexpr int max_columns = largest([](const CellSpec& cell) { return cell.columns.count; });
constexpr int max_stages = largest([](const CellSpec& cell) {
  return cell.forward.count > cell.backward.count ? cell.forward.count : cell.backward.count;
});
constexpr int max_refs = largest_of_stages(
    [](const StageSpec& stage) { return stage.in.count > stage.out.count ? stage.in.count : stage.out.count; });
constexpr int max_runs = largest([](const CellSpec& cell) {
  int runs = 0;
  for (const ForwardStage& stage : cell.forward) runs = stage.runs.count > runs ? stage.runs.count : runs;
  return runs;
});
constexpr int max_rows = largest([](const CellSpec& cell) {  // of one kind of Where
  int rows = cell.states.count;
  for (int count :
       {cell.records.count, cell.columns.count, cell.parameters.count, cell.constants.count, cell.masks.count})
    rows = count > rows ? count : rows;
  return rows;
});
constexpr int stage_count = cell_specs.back().backward[cell_specs.back().backward.count - 1].id + 1;
static_assert(max_runs <= 2, "a product has two operands");

}  // namespace pylstm
