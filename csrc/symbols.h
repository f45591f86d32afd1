// x as rows of a table: which rows a batch of symbols names, each once, and where among them the row of a step is.
#pragma once

#include <cstdint>
#include <vector>

#include "rows.h"
#include "view.h"

namespace pylstm {

template <class T>
class InputTable;

class Symbols {
 public:
  enum class Places { among_distinct, in_table };

  // ids: (T, N), numbers of rows of a table that has `count`; those behind the end of a sequence are not looked at.
  // Every id is read once: they are a caller's, who may write to them meanwhile. Throws std::out_of_range.
  // With places in the table itself nobody asks which rows are distinct.
  Symbols(const View<const int64_t>& ids, const Order& order, ptrdiff_t steps, ptrdiff_t count,
          Places places = Places::among_distinct);

  // Of one step after the other, with places in the table: `move_to` says which.
  Symbols(ptrdiff_t batch, ptrdiff_t count);
  // The symbols of the next step, (N,), each read once. False where one is not in the table: they are of no use then.
  [[nodiscard]] bool move_to(const int64_t* ids);

  ptrdiff_t steps() const { return steps_; }
  ptrdiff_t batch() const { return batch_; }
  ptrdiff_t count() const { return count_; }                  // rows of the table
  ptrdiff_t total() const { return total_; }                  // sum of the lengths
  const std::vector<int64_t>& rows() const { return rows_; }  // ascending
  ptrdiff_t distinct() const { return ptrdiff_t(rows_.size()); }
  bool in_table() const { return in_table_; }
  // Among rows() or in the table, of step t of sequence n.
  int32_t place(ptrdiff_t t, ptrdiff_t n) const { return places_[size_t(t * batch_ + n)]; }
  const std::vector<int32_t>& places() const { return places_; }  // (T, N)

 private:
  // Both fill rows_, and make places among them of places in the table.
  template <class F>
  void sort(const F& each);
  template <class F>
  void count_bits(const F& each, const std::vector<uint64_t>& named);

  ptrdiff_t steps_, batch_, count_, total_;
  bool in_table_;
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
  const InputTable<T>* kept = nullptr;  // of the whole table, with places in it; null: made for the call
};

}  // namespace pylstm
