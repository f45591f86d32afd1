// The storage types. Of those for float32, and of those for float64, the first keeps numbers as they are. A new one is
// a file and a line here.
#pragma once

#include <type_traits>

#include "float32.h"
#include "float64.h"

namespace pylstm {
namespace {

template <class... S>
struct StorageList {};
using Storages = StorageList<Float32, Float64>;

// Those whose rows and accumulators are T.
template <class T, class... S>
constexpr List<Product<T>> products_of(StorageList<S...>) {
  List<Product<T>> products;
  const auto add = [&]<class Storage>(Storage) {
    if constexpr (std::is_same_v<typename Storage::number, T>) products.add(make_product<Storage>());
  };
  (add(S()), ...);
  return products;
}

}  // namespace
}  // namespace pylstm
