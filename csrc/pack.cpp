#include "pack.h"

#include <algorithm>

namespace pylstm {
namespace {

// One vector of units of one column: out[k * out_stride + lane]. Walks k in short runs, so that reads along k and
// writes along the lanes both stay within a few cache lines.
template <class T>
void pack_vector(const PackSource<T>& source, ptrdiff_t unit, ptrdiff_t units, ptrdiff_t lanes, ptrdiff_t k_count,
                 T* out, ptrdiff_t out_stride) {
  constexpr ptrdiff_t run = 16;
  const T* data = source.data + unit * source.unit_stride;
  for (ptrdiff_t k0 = 0; k0 < k_count; k0 += run) {
    const ptrdiff_t k1 = std::min(k0 + run, k_count);
    if (source.unit_stride == 1) {
      for (ptrdiff_t k = k0; k < k1; ++k) {
        std::copy_n(data + k * source.k_stride, units, out + k * out_stride);
        std::fill(out + k * out_stride + units, out + k * out_stride + lanes, T(0));
      }
    } else {
      for (ptrdiff_t lane = 0; lane < lanes; ++lane)
        for (ptrdiff_t k = k0; k < k1; ++k)
          out[k * out_stride + lane] = lane < units ? data[lane * source.unit_stride + k * source.k_stride] : T(0);
    }
  }
}

}  // namespace

template <class T>
PackedMatrix<T> pack(Arena<T>& arena, const Blocks& blocks, ptrdiff_t k_count,
                     const std::vector<PackSource<T>>& sources) {
  const ptrdiff_t columns = static_cast<ptrdiff_t>(sources.size()), lanes = blocks.lanes;
  const ptrdiff_t vectors = blocks.vectors(), per_block = blocks.vectors_per_block();
  PackedMatrix<T> packed;
  packed.k = k_count;
  packed.block = checked_product({k_count, per_block, columns, lanes});
  T* const data = arena.take(checked_product({vectors, columns, lanes, k_count}, sizeof(T)));
  packed.data = data;
  if (!data) return packed;
  for (ptrdiff_t v = 0; v < vectors; ++v) {
    const ptrdiff_t block = v / per_block, in_block = v % per_block, width = blocks.lanes_of(v);
    const ptrdiff_t stride = std::min(per_block, vectors - block * per_block) * columns * width;
    const ptrdiff_t units = std::min(lanes, blocks.units - v * lanes);
    for (ptrdiff_t c = 0; c < columns; ++c)
      pack_vector(sources[size_t(c)], v * lanes, units, width, k_count,
                  data + block * packed.block + (in_block * columns + c) * width, stride);
  }
  return packed;
}

template PackedMatrix<float> pack(Arena<float>&, const Blocks&, ptrdiff_t, const std::vector<PackSource<float>>&);
template PackedMatrix<double> pack(Arena<double>&, const Blocks&, ptrdiff_t, const std::vector<PackSource<double>>&);

}  // namespace pylstm
