// Where the rows of a chunk of steps lie, slice by slice: a slice is sequences whose weight gradients are added up on
// their own, so that workers who have whole slices need not read what others have written.
#pragma once

#include <algorithm>
#include <vector>

#include "rows.h"

namespace pylstm {

// Rows of two chunks, which take turns; in each, a slice has a place of its own, and there its rows stand step by step.
class GateRows {
 public:
  GateRows(const Order& order, ptrdiff_t chunk_steps, int slices) : order_(order), chunk_steps_(chunk_steps) {
    for (int i = 0; i < slices; ++i) sets_.emplace_back(order, i, slices);
    if (slices > 1) {
      of_position_.resize(size_t(order.batch()));
      start_.resize(size_t(slices) * size_t(order.steps() + 1));
    }
    for (int i = 0; i < slices; ++i) {
      const RowSet& set = sets_[size_t(i)];
      for (ptrdiff_t place = 0; place < set.count() && slices > 1; ++place)
        of_position_[size_t(set.position(place))] = {i, place};
      for (ptrdiff_t s = 0; s < order.steps() && slices > 1; ++s)
        start_[size_t(start_index(i, s + 1))] = start(i, s) + set.active(s);
      first_.push_back(count_);
      ptrdiff_t most = 0;
      for (ptrdiff_t s = 0; s < order.steps(); s += chunk_steps)
        most = std::max(most, rows(i, s, std::min(s + chunk_steps, order.steps())));
      count_ += most;
    }
  }

  int slices() const { return int(sets_.size()); }
  const RowSet& sequences(int slice) const { return sets_[size_t(slice)]; }
  // Of a chunk, whose steps a worker may hold row by row.
  ptrdiff_t count() const { return count_; }
  // Of a slice in the steps [begin, end) of a chunk.
  ptrdiff_t rows(int slice, ptrdiff_t begin, ptrdiff_t end) const { return start(slice, end) - start(slice, begin); }
  // The row where a slice's part of the chunk that a step belongs to begins.
  ptrdiff_t begin(int slice, ptrdiff_t step) const {
    return (step / chunk_steps_ & 1) * count_ + first_[size_t(slice)];
  }
  ptrdiff_t row(ptrdiff_t step, ptrdiff_t position) const {
    const Place at = sets_.size() > 1 ? of_position_[size_t(position)] : Place{0, position};
    return begin(at.slice, step) + rows(at.slice, step / chunk_steps_ * chunk_steps_, step) + at.place;
  }

 private:
  struct Place {
    int slice;
    ptrdiff_t place;
  };

  ptrdiff_t start_index(int slice, ptrdiff_t step) const { return slice * (order_.steps() + 1) + step; }
  // Rows of a slice in all steps before.
  ptrdiff_t start(int slice, ptrdiff_t step) const {
    return sets_.size() > 1 ? start_[size_t(start_index(slice, step))] : order_.start(step);
  }

  const Order& order_;
  const ptrdiff_t chunk_steps_;
  std::vector<RowSet> sets_;
  std::vector<Place> of_position_;  // these two: of several slices
  std::vector<ptrdiff_t> start_;
  std::vector<ptrdiff_t> first_;  // row of each slice
  ptrdiff_t count_ = 0;
};

}  // namespace pylstm
