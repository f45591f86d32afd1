// Weights of single precision.
#pragma once

#include "tile.h"

namespace pylstm {
namespace {

struct Float32 : Plain<float> {
  static constexpr const char* name = "float32";
};

}  // namespace
}  // namespace pylstm
