#include "symbols.h"

#include <algorithm>
#include <bit>
#include <new>
#include <stdexcept>
#include <string>

#include "memory.h"

namespace pylstm {

Symbols::Symbols(const View<const int64_t>& ids, const Order& order, ptrdiff_t steps, ptrdiff_t count, Places places)
    : steps_(steps),
      batch_(order.batch()),
      count_(count),
      total_(order.total()),
      in_table_(places == Places::in_table) {
  if (count_ > INT32_MAX) throw std::bad_alloc();
  places_.assign(size_t(checked_product({steps_, batch_}, sizeof(int32_t))), 0);
  const auto each = [&](const auto& visit) {
    for (ptrdiff_t p = 0; p < batch_; ++p) {
      const ptrdiff_t n = order.sequence(p);
      for (ptrdiff_t t = 0; t < order.length(p); ++t) visit(t, n, places_[size_t(t * batch_ + n)]);
    }
  };
  const ptrdiff_t words = ceil_div(count_, 64);
  const bool few = total_ < words / 32;  // as measured: in a table of 10^6 rows, 488 symbols
  std::vector<uint64_t> named(size_t(in_table_ || few ? 0 : words));
  each([&](ptrdiff_t t, ptrdiff_t n, int32_t& place) {
    const int64_t id = *ids.row(t, n);
    if (id < 0 || id >= count_)
      throw std::out_of_range("x: names row " + std::to_string(id) + " of a table of " + std::to_string(count_));
    place = int32_t(id);
    if (!named.empty()) named[size_t(id >> 6)] |= uint64_t(1) << (id & 63);
  });
  if (in_table_) return;
  named.empty() ? sort(each) : count_bits(each, named);
}

Symbols::Symbols(ptrdiff_t batch, ptrdiff_t count)
    : steps_(1), batch_(batch), count_(count), total_(batch), in_table_(true) {
  if (count_ > INT32_MAX) throw std::bad_alloc();
  places_.assign(size_t(batch_), 0);
}

bool Symbols::move_to(const int64_t* ids) {
  for (int32_t& place : places_) {
    const int64_t id = *ids++;
    if (id < 0 || id >= count_) return false;
    place = int32_t(id);
  }
  return true;
}

// A few symbols of a large table, which nobody wants to go through.
template <class F>
void Symbols::sort(const F& each) {
  rows_.reserve(size_t(total_));
  each([&](ptrdiff_t, ptrdiff_t, int32_t place) { rows_.push_back(place); });
  std::sort(rows_.begin(), rows_.end());
  rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
  each([&](ptrdiff_t, ptrdiff_t, int32_t& place) {
    place = int32_t(std::lower_bound(rows_.begin(), rows_.end(), place) - rows_.begin());
  });
}

// Of a bit for every row of the table, how many rows are named before each word of bits: no sorting, and the rows come
// out in ascending order.
template <class F>
void Symbols::count_bits(const F& each, const std::vector<uint64_t>& named) {
  std::vector<int32_t> before(named.size());
  for (size_t word = 0; word < named.size(); ++word) {
    before[word] = int32_t(rows_.size());
    for (uint64_t bits = named[word]; bits; bits &= bits - 1)
      rows_.push_back(int64_t(word) * 64 + std::countr_zero(bits));
  }
  each([&](ptrdiff_t, ptrdiff_t, int32_t& place) {
    const auto word = size_t(place >> 6);
    place = before[word] + std::popcount(named[word] & ((uint64_t(1) << (place & 63)) - 1));
  });
}

}  // namespace pylstm
