#include "sum_of_squares.h"

#include <algorithm>
#include <vector>

#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// Numbers that are added up by themselves.
constexpr ptrdiff_t block = 1 << 14;
// Below so many, a thread costs more than it brings.
constexpr ptrdiff_t blocks_a_thread = 16;

}  // namespace

template <class T>
double sum_of_squares(const Kernels<T>& kernels, const T* x, ptrdiff_t n, int threads) {
  if (n <= block) return kernels.sum_of_squares(x, n);
  const ptrdiff_t blocks = ceil_div(n, block);
  std::vector<double> sums(static_cast<size_t>(blocks));
  for (int count = int(std::clamp<ptrdiff_t>(blocks / blocks_a_thread, 1, threads));;) {
    const int got = parallel(count, [&](int id) {
      const Share share(blocks, id, count);
      for (ptrdiff_t i = share.begin; i < share.end; ++i)
        sums[size_t(i)] = kernels.sum_of_squares(x + i * block, std::min(block, n - i * block));
    });
    if (got == count) break;
    count = got;
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

template double sum_of_squares(const Kernels<float>&, const float*, ptrdiff_t, int);
template double sum_of_squares(const Kernels<double>&, const double*, ptrdiff_t, int);

}  // namespace pylstm
