// How a call is cut up: the split over threads and the chunks of time. A written cost model, in cycles; see plan.cpp.
// Calls ask kept_plans.h, which asks the model once a shape.
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

// All that the cost model looks at. No padding between the members: kept plans are found by its bytes.
struct Problem {
  ptrdiff_t batch = 0, steps = 0;
  ptrdiff_t input = 0, hidden = 0, output = 0;
  ptrdiff_t lanes = 1, tile_rows = 1;
  ptrdiff_t element = 4, weight = 4;                                   // bytes of a number, of a stored weight
  int gates = 4, columns = 4, stages = 1, layers = 1, directions = 1;  // columns: side by side in a block
  int backward = 0;                                                    // or 1
};
// symbols: x of the first layer is rows of a table, whose products are no part of the steps.
template <class T>
Problem describe(const Network<T>& network, const Order& order, bool backward, bool symbols = false);

// Whether x . W had better be computed once per distinct row where x is `total` rows of a table. It depends on the
// batch alone: the order of summation of gradients must not change with threads, ISA or machine.
bool pays_once(ptrdiff_t total, ptrdiff_t distinct, ptrdiff_t input);

// Cycles the slowest worker needs under a split.
double estimate(const Problem& problem, const Split& split);

// Calls of a worker's step: layers x directions x steps.
double step_count(const Problem& problem, const Split& split);

// The cheapest split for at most `threads` workers.
Split choose_split(const Problem& problem, int threads);

// Rows of a chunk of the input product, or 0: x . W is part of every step.
ptrdiff_t input_chunk_rows(const Problem& problem, const Split& split);

// What a call needs to know.
struct Plan {
  Split split;
  ptrdiff_t chunk_rows = 0;  // see input_chunk_rows
  double cycles = 0;         // by the model, for the slowest worker
  double steps = 0;          // see step_count
};
// The model's choices under a split.
Plan plan_with(const Problem& problem, const Split& split);

// Steps whose gate gradients are kept before they go into the weight gradients. It depends on the batch alone: the
// order of summation, and so the bits of a gradient, must not change with threads, ISA or machine.
ptrdiff_t gradient_steps(ptrdiff_t batch);

// Slices of the batch whose weight gradients are added up on their own, see gate_rows.h. For the same reason it depends
// on the batch and on how many weights a layer has alone.
int gradient_slices(const Order& order, ptrdiff_t weights);

}  // namespace pylstm
