// Which sequences are still running at a step, in which order, and which of them are a worker's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace pylstm {

// How many pieces of `size` n things fill.
constexpr ptrdiff_t ceil_div(ptrdiff_t n, ptrdiff_t size) { return (n + size - 1) / size; }

// The sequences of a batch, longest first: those still running at step s are the first active(s), so that a step works
// on a prefix and padding costs nothing. A place in this order is a "position".
class Order {
 public:
  // lengths: null where every sequence has `steps` steps.
  Order(const int64_t* lengths, ptrdiff_t steps, ptrdiff_t batch) : ragged_(lengths != nullptr) {
    sequence_.resize(size_t(batch));
    std::iota(sequence_.begin(), sequence_.end(), ptrdiff_t(0));
    if (ragged_)
      std::stable_sort(sequence_.begin(), sequence_.end(),
                       [&](ptrdiff_t a, ptrdiff_t b) { return lengths[a] > lengths[b]; });
    length_.assign(size_t(batch), steps);
    if (ragged_)
      for (size_t p = 0; p < length_.size(); ++p) length_[p] = ptrdiff_t(lengths[sequence_[p]]);
    const ptrdiff_t longest = batch ? length_[0] : 0;
    start_.assign(size_t(longest) + 1, 0);
    ptrdiff_t running = batch;
    for (ptrdiff_t s = 0; s < longest; ++s) {
      while (length_[size_t(running - 1)] <= s) --running;
      start_[size_t(s) + 1] = start_[size_t(s)] + running;
    }
  }

  bool ragged() const { return ragged_; }
  ptrdiff_t batch() const { return ptrdiff_t(sequence_.size()); }
  ptrdiff_t steps() const { return ptrdiff_t(start_.size()) - 1; }  // of the longest sequence
  ptrdiff_t total() const { return start_.back(); }                 // sum of the lengths
  ptrdiff_t sequence(ptrdiff_t position) const { return sequence_[size_t(position)]; }
  ptrdiff_t length(ptrdiff_t position) const { return length_[size_t(position)]; }
  ptrdiff_t start(ptrdiff_t step) const { return start_[size_t(step)]; }  // rows of all steps before
  ptrdiff_t active(ptrdiff_t step) const { return step < steps() ? start(step + 1) - start(step) : 0; }

 private:
  bool ragged_;
  std::vector<ptrdiff_t> sequence_, length_, start_;
};

// The positions of one group of workers: a range, or, where lengths differ, every n-th one, so that each group has its
// share of long sequences.
class RowSet {
 public:
  RowSet(const Order& order, int group, int groups) : order_(order) {
    const ptrdiff_t batch = order.batch();
    if (order.ragged()) {
      first_ = group, stride_ = groups;
      count_ = batch > group ? ceil_div(batch - group, groups) : 0;
    } else {
      first_ = batch * group / groups;
      count_ = batch * (group + 1) / groups - first_;
    }
  }

  ptrdiff_t count() const { return count_; }
  ptrdiff_t position(ptrdiff_t i) const { return first_ + i * stride_; }
  ptrdiff_t active(ptrdiff_t step) const {
    const ptrdiff_t running = order_.active(step);
    return running <= first_ ? 0 : std::min(count_, ceil_div(running - first_, stride_));
  }
  ptrdiff_t steps() const { return count_ ? order_.length(first_) : 0; }

 private:
  const Order& order_;
  ptrdiff_t first_ = 0, stride_ = 1, count_ = 0;
};

// A share of `n` things for worker `i` of `of`.
struct Share {
  ptrdiff_t begin, end;
  Share(ptrdiff_t n, int i, int of) : begin(n * i / of), end(n * (i + 1) / of) {}
};

}  // namespace pylstm
