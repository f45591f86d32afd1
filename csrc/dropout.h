// Inverted dropout by a counter-based generator: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011).
//
// The mask of an element depends on (seed, call, layer, t, n, feature) alone, so it is the same for any thread count
// and is made again, not stored, in the backward pass. pylstm/reference/dropout.py is its twin.
// The masks of a cell come from the same generator under other keys, and are kept with the records.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sequence.h"

namespace pylstm {

// out = in * mask for the row (t, n) behind layer `layer` of `layers`; in and out may be the same.
template <class T>
void apply_dropout(const Dropout& dropout, int layer, int layers, ptrdiff_t t, ptrdiff_t n, ptrdiff_t width,
                   const T* in, T* out);

// A row of mask `mask` of a cell: zeros and `kept`. `layer` of `layers` counts directions, too; n is the sequence.
template <class T>
void fill_mask(const Dropout& key, int mask, double p, T kept, int layer, int layers, ptrdiff_t t, ptrdiff_t n,
               ptrdiff_t width, T* out);

}  // namespace pylstm
