// How a call is cut up: the split over threads and the chunks of time. A written cost model, in cycles; see plan.cpp.
#pragma once

#include <cstddef>

#include "network.h"
#include "rows.h"

namespace pylstm {

// Workers form a grid: groups of sequences x shares of the hidden units x directions. Groups of sequences never meet;
// workers that share units meet at a barrier after every stage.
struct Split {
  int rows = 1, units = 1, directions = 1;
  int threads() const { return rows * units * directions; }
};

// What the cost model looks at.
struct Problem {
  ptrdiff_t batch = 0, steps = 0;
  ptrdiff_t input = 0, hidden = 0, output = 0;
  int gates = 4, columns = 4, stages = 1, layers = 1, directions = 1;  // columns: side by side in a block
  ptrdiff_t lanes = 1, tile_rows = 1, element = 4;
  bool backward = false;
};
template <class T>
Problem describe(const Network<T>& network, const Order& order, bool backward);

// Cycles the slowest worker needs under a split.
double estimate(const Problem& problem, const Split& split);

// Calls of a worker's step: layers x directions x steps.
double step_count(const Problem& problem, const Split& split);

// The cheapest split for at most `threads` workers.
Split choose_split(const Problem& problem, int threads);

// Rows of a chunk of the input product, or 0: x . W is part of every step.
ptrdiff_t input_chunk_rows(const Problem& problem, const Split& split);

// For tests: every path must give the same bits, also those the model would not choose here. A split of more workers
// than a call may use is ignored; chunk_rows < 0 leaves that choice to the model. Holds until it is called with {}.
struct Forced {
  bool split_set = false;
  Split split;
  ptrdiff_t chunk_rows = -1;
};
void force_plan(const Forced& forced);

// Steps whose gate gradients are kept before they go into the weight gradients. It depends on the batch alone: the
// order of summation, and so the bits of a gradient, must not change with threads, ISA or machine.
ptrdiff_t gradient_steps(ptrdiff_t batch);

}  // namespace pylstm
