#include "symbols.h"

#include <bit>
#include <new>
#include <stdexcept>
#include <string>

#include "memory.h"

namespace pylstm {

// A bit for every row of the table, then how many rows are named before each word of bits: no sorting, and the rows
// come out in ascending order.
Symbols::Symbols(const View<const int64_t>& ids, const Order& order, ptrdiff_t steps, ptrdiff_t count, Places places)
    : steps_(steps),
      batch_(order.batch()),
      count_(count),
      total_(order.total()),
      in_table_(places == Places::in_table) {
  if (count_ > INT32_MAX) throw std::bad_alloc();
  places_.assign(size_t(checked_product({steps_, batch_}, sizeof(int32_t))), 0);
  std::vector<uint64_t> named(size_t(ceil_div(count_, 64)));
  for (ptrdiff_t p = 0; p < batch_; ++p) {
    const ptrdiff_t n = order.sequence(p);
    for (ptrdiff_t t = 0; t < order.length(p); ++t) {
      const int64_t id = *ids.row(t, n);
      if (id < 0 || id >= count_)
        throw std::out_of_range("x: names row " + std::to_string(id) + " of a table of " + std::to_string(count_));
      places_[size_t(t * batch_ + n)] = int32_t(id);
      named[size_t(id >> 6)] |= uint64_t(1) << (id & 63);
    }
  }
  if (in_table_) return;
  std::vector<int32_t> before(named.size());
  for (size_t word = 0; word < named.size(); ++word) {
    before[word] = int32_t(rows_.size());
    for (uint64_t bits = named[word]; bits; bits &= bits - 1)
      rows_.push_back(int64_t(word) * 64 + std::countr_zero(bits));
  }
  for (ptrdiff_t p = 0; p < batch_; ++p) {
    const ptrdiff_t n = order.sequence(p);
    for (ptrdiff_t t = 0; t < order.length(p); ++t) {
      int32_t& place = places_[size_t(t * batch_ + n)];
      const auto word = size_t(place >> 6);
      place = before[word] + std::popcount(named[word] & ((uint64_t(1) << (place & 63)) - 1));
    }
  }
}

}  // namespace pylstm
