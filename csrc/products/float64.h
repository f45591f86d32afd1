// Weights of double precision.
#pragma once

#include "tile.h"

namespace pylstm {
namespace {

struct Float64 : Plain<double> {
  static constexpr const char* name = "float64";
};

}  // namespace
}  // namespace pylstm
