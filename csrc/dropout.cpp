#include "dropout.h"

#include <algorithm>
#include <cmath>

namespace pylstm {
namespace {

struct Words {
  uint32_t word[4];
};

Words philox4x32(Words counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53) * counter.word[0], b = uint64_t(0xCD9E8D57) * counter.word[2];
    counter = {{uint32_t(b >> 32) ^ counter.word[1] ^ key0, uint32_t(b), uint32_t(a >> 32) ^ counter.word[3] ^ key1,
                uint32_t(a)}};
    key0 += 0x9E3779B9, key1 += 0xBB67AE85;
  }
  return counter;
}

// Words below it are dropped.
uint32_t threshold(double p) { return uint32_t(std::min(std::floor(p * 4294967296.0), 4294967295.0)); }

}  // namespace

template <class T>
void apply_dropout(const Dropout& dropout, int layer, int layers, ptrdiff_t t, ptrdiff_t n, ptrdiff_t width,
                   const T* in, T* out) {
  if (dropout.p >= 1) {
    std::fill_n(out, width, T(0));
    return;
  }
  const uint32_t least = threshold(dropout.p);
  const T scale = T(1 / (1 - dropout.p));
  const uint32_t stream = dropout.call * uint32_t(layers) + uint32_t(layer);
  for (ptrdiff_t j = 0; j < width; j += 4) {
    const Words mask = philox4x32({{uint32_t(j >> 2), uint32_t(n), uint32_t(t), stream}}, uint32_t(dropout.seed),
                                  uint32_t(dropout.seed >> 32));
    for (ptrdiff_t i = j; i < std::min(j + 4, width); ++i) out[i] = mask.word[i & 3] < least ? T(0) : in[i] * scale;
  }
}

template void apply_dropout(const Dropout&, int, int, ptrdiff_t, ptrdiff_t, ptrdiff_t, const float*, float*);
template void apply_dropout(const Dropout&, int, int, ptrdiff_t, ptrdiff_t, ptrdiff_t, const double*, double*);

template <class T>
void fill_mask(const Dropout& key, int mask, double p, T kept, int layer, int layers, ptrdiff_t t, ptrdiff_t n,
               ptrdiff_t width, T* out) {
  if (p >= 1) {
    std::fill_n(out, width, T(0));
    return;
  }
  const uint32_t least = threshold(p), stream = key.call * uint32_t(layers) + uint32_t(layer);
  const uint32_t high = uint32_t(key.seed >> 32) + 0x85EBCA6B * uint32_t(mask + 1);
  for (ptrdiff_t j = 0; j < width; j += 4) {
    const Words words = philox4x32({{uint32_t(j >> 2), uint32_t(n), uint32_t(t), stream}}, uint32_t(key.seed), high);
    for (ptrdiff_t i = j; i < std::min(j + 4, width); ++i) out[i] = words.word[i & 3] < least ? T(0) : kept;
  }
}

template void fill_mask(const Dropout&, int, double, float, int, int, ptrdiff_t, ptrdiff_t, ptrdiff_t, float*);
template void fill_mask(const Dropout&, int, double, double, int, int, ptrdiff_t, ptrdiff_t, ptrdiff_t, double*);

}  // namespace pylstm
