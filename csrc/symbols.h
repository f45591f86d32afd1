// x as rows of a table: which rows a batch of symbols names, each once, and where among them the row of a step is.
#pragma once

#include <cstdint>
#include <vector>

#include "rows.h"
#include "view.h"

namespace pylstm {

class Symbols {
 public:
  // ids: (T, N), numbers of rows of a table that has `count`; those behind the end of a sequence are not looked at.
  // Every id is read once: they are a caller's, who may write to them meanwhile. Throws std::out_of_range.
  Symbols(const View<const int64_t>& ids, const Order& order, ptrdiff_t steps, ptrdiff_t count);

  ptrdiff_t steps() const { return steps_; }
  ptrdiff_t batch() const { return batch_; }
  ptrdiff_t count() const { return count_; }                  // rows of the table
  ptrdiff_t total() const { return total_; }                  // sum of the lengths
  const std::vector<int64_t>& rows() const { return rows_; }  // ascending
  ptrdiff_t distinct() const { return ptrdiff_t(rows_.size()); }
  // Among rows(), of step t of sequence n.
  int32_t place(ptrdiff_t t, ptrdiff_t n) const { return places_[size_t(t * batch_ + n)]; }

 private:
  ptrdiff_t steps_, batch_, count_, total_;
  std::vector<int64_t> rows_;
  std::vector<int32_t> places_;  // (T, N)
};

// x of a call as rows of a table, by symbols; symbols null: x is there itself.
template <class T>
struct SymbolInput {
  const Symbols* symbols = nullptr;
  const T* table = nullptr;  // row r at table + r * table_row
  ptrdiff_t table_row = 0;
  T* rows = nullptr;  // (distinct, input): where training keeps the rows for the backward pass; null: nowhere
};

}  // namespace pylstm
