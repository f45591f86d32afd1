// An array in someone else's memory: (T, N, features), any strides but the last, which is one element.
#pragma once

#include <cstddef>

namespace pylstm {

template <class T>
struct View {
  T* data = nullptr;
  ptrdiff_t time = 0, sequence = 0;  // strides in elements; may be 0 or negative
  T* row(ptrdiff_t t, ptrdiff_t n) const { return data + t * time + n * sequence; }
};

}  // namespace pylstm
