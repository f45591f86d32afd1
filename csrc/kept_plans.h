// Plans by shape, so that a shape is planned once: the cost model looks at hundreds of splits where many threads are
// allowed, which takes longer than a small call.
//
// One table for the whole process, of a fixed size: networks come and go (training packs the weights anew for every
// step), and a server may see any number of shapes; those seen last are kept. Nobody waits: see kept_plans.cpp.
#pragma once

#include <cstdint>

#include "plan.h"

namespace pylstm {

// The cheapest plan for at most `threads` workers.
Plan plan_for(const Problem& problem, int threads);

// As pays_once, if no test says otherwise.
bool computes_once(ptrdiff_t total, ptrdiff_t distinct, ptrdiff_t input);

// For tests: every path must give the same bits, also those the model would not choose here. Plans made from now on
// follow it, and those made before are forgotten; so calls themselves never ask for it. A split of more workers than a
// call may use is ignored; chunk_rows < 0 leaves that choice to the model. Holds until it is called with {}.
struct Forced {
  bool split_set = false;
  Split split;
  ptrdiff_t chunk_rows = -1;
  int once = -1;  // whether x . W is computed once per symbol; < 0: as pays_once says
};
void force_plan(const Forced& forced);

// For tests: plans made since the process began, kept now, and kept at most.
struct PlanCounts {
  uint64_t made = 0;
  ptrdiff_t kept = 0, most = 0;
};
PlanCounts plan_counts();

}  // namespace pylstm
