// The symbols of a batch, as Python holds them between finding the distinct ones and calling a network.
#pragma once

#include <memory>

#include "python/arrays.h"
#include "symbols.h"

namespace pylstm {

struct BoundSymbols {
  std::shared_ptr<const Symbols> symbols;
};

}  // namespace pylstm
