// What Python holds of x as rows of a table, between its calls of the core.
#pragma once

#include <memory>

#include "input_table.h"
#include "python/arrays.h"
#include "symbols.h"

namespace pylstm {

struct BoundSymbols {
  std::shared_ptr<const Symbols> symbols;
};

// `InputTable` in Python, whatever the dtype.
struct BoundTableBase {
  virtual ~BoundTableBase() = default;
};

template <class T>
class Bound;

template <class T>
struct BoundTable : BoundTableBase {
  std::shared_ptr<const Bound<T>> bound;  // whose network it belongs to
  std::unique_ptr<const InputTable<T>> table;
};

}  // namespace pylstm
