#include "adam.h"

#include <algorithm>

#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// Below this many numbers a thread costs more than it brings.
constexpr ptrdiff_t numbers_a_thread = 1 << 16;

template <class T>
void move_rows(const Kernels<T>& kernels, const AdamCall<T>& call, const AdamStep<T>& step, Share share) {
  const auto move = [&](ptrdiff_t begin, ptrdiff_t end, const T* gradient) {
    const ptrdiff_t at = begin * call.width;
    if (begin < end)
      kernels.adam({call.parameter + at, call.value + at, call.mean + at, call.square + at, gradient,
                    (end - begin) * call.width},
                   step);
  };
  const auto pass = [&](ptrdiff_t begin, ptrdiff_t end) {
    if (!call.only_touched) return move(begin, end, nullptr);
    const ptrdiff_t at = begin * call.width;
    if (call.value != call.parameter && begin < end)
      std::copy_n(call.value + at, (end - begin) * call.width, call.parameter + at);
  };
  if (!call.touched) return move(share.begin, share.end, call.gradient + share.begin * call.width);
  const int64_t* const last = call.touched + call.touched_count;
  ptrdiff_t row = share.begin;
  for (const int64_t* next = std::lower_bound(call.touched, last, share.begin); next != last && *next < share.end;
       ++next) {
    pass(row, ptrdiff_t(*next));
    row = ptrdiff_t(*next) + 1;
    move(row - 1, row, call.gradient + (next - call.touched) * call.width);
  }
  pass(row, share.end);
}

}  // namespace

template <class T>
void adam(const Kernels<T>& kernels, const AdamCall<T>& call, const AdamStep<T>& step, int threads) {
  const bool some = call.only_touched && call.value == call.parameter;
  const ptrdiff_t rows = some ? call.touched_count : call.rows;
  const ptrdiff_t most = std::max<ptrdiff_t>(1, rows * call.width / numbers_a_thread);
  for (int count = int(std::min<ptrdiff_t>(threads, most));;) {
    const int got = parallel(count, [&](int id) { move_rows(kernels, call, step, Share(call.rows, id, count)); });
    if (got == count) return;
    count = got;
  }
}

template void adam(const Kernels<float>&, const AdamCall<float>&, const AdamStep<float>&, int);
template void adam(const Kernels<double>&, const AdamCall<double>&, const AdamStep<double>&, int);

}  // namespace pylstm
