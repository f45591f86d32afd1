#include "pack.h"

#include <algorithm>

namespace pylstm {

template <class T>
PackedMatrix pack(Arena& arena, const Product<T>& product, const Blocks& blocks, ptrdiff_t k_count,
                  const std::vector<PackSource<T>>& sources) {
  const ptrdiff_t columns = static_cast<ptrdiff_t>(sources.size()), lanes = blocks.lanes;
  const ptrdiff_t vectors = blocks.vectors(), per_block = blocks.vectors_per_block();
  PackedMatrix packed;
  packed.k = k_count;
  packed.panels.block = checked_product({k_count, per_block, columns, lanes, product.element});
  std::byte* const data = arena.take(checked_product({vectors, columns, lanes, k_count, product.element}));
  packed.panels.data = data;
  if (!data) return packed;
  for (ptrdiff_t v = 0; v < vectors; ++v) {
    const ptrdiff_t block = v / per_block, in_block = v % per_block;
    PackLanes<T> part;
    part.width = blocks.lanes_of(v), part.k = k_count;
    part.unit = v * lanes, part.units = std::min(lanes, blocks.units - v * lanes);
    part.step = std::min(per_block, vectors - block * per_block) * columns * part.width;
    for (ptrdiff_t c = 0; c < columns; ++c) {
      part.source = sources[size_t(c)];
      part.to = data + block * packed.panels.block + (in_block * columns + c) * part.width * product.element;
      product.pack(part);
    }
  }
  return packed;
}

template PackedMatrix pack(Arena&, const Product<float>&, const Blocks&, ptrdiff_t,
                           const std::vector<PackSource<float>>&);
template PackedMatrix pack(Arena&, const Product<double>&, const Blocks&, ptrdiff_t,
                           const std::vector<PackSource<double>>&);

}  // namespace pylstm
