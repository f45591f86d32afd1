#include "adam.h"

#include <algorithm>
#include <vector>

#include "parallel.h"
#include "rows.h"

namespace pylstm {
namespace {

// Below this many numbers a thread costs more than it brings.
constexpr ptrdiff_t numbers_a_thread = 1 << 16;

// Whether rows that are not live stay as they are.
template <class T>
bool rests(const AdamCall<T>& call, const AdamStep<T>& step) {
  return call.live && !call.only_touched && step.shrink == 1 && step.decay == 0;
}

template <class T>
void move_rows(const Kernels<T>& kernels, const AdamCall<T>& call, const AdamStep<T>& step, ptrdiff_t begin,
               ptrdiff_t end) {
  const auto move = [&](ptrdiff_t begin, ptrdiff_t end, const T* gradient) {
    const ptrdiff_t at = begin * call.width;
    if (begin < end)
      kernels.adam({call.parameter + at, call.value + at, call.mean + at, call.square + at, gradient,
                    (end - begin) * call.width},
                   step);
  };
  const auto keep = [&](ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t at = begin * call.width;
    if (call.value != call.parameter && begin < end)
      std::copy_n(call.value + at, (end - begin) * call.width, call.parameter + at);
  };
  const bool rest = rests(call, step);
  const auto pass = [&](ptrdiff_t begin, ptrdiff_t end) {
    if (call.only_touched) return keep(begin, end);
    if (!rest) return move(begin, end, nullptr);
    for (ptrdiff_t row = begin; row < end;) {
      const bool live = call.live[row];
      const ptrdiff_t first = row;
      while (row < end && bool(call.live[row]) == live) ++row;
      live ? move(first, row, nullptr) : keep(first, row);
    }
  };
  if (!call.touched) return move(begin, end, call.gradient + begin * call.width);
  const int64_t* const last = call.touched + call.touched_count;
  ptrdiff_t row = begin;
  for (const int64_t* next = std::lower_bound(call.touched, last, begin); next != last && *next < end; ++next) {
    pass(row, ptrdiff_t(*next));
    row = ptrdiff_t(*next) + 1;
    move(row - 1, row, call.gradient + (next - call.touched) * call.width);
  }
  pass(row, end);
}

// Where the rows of each thread end; as many live ones for each, where the others rest: the frequent symbols of a
// vocabulary often have the first rows of a table.
template <class T>
std::vector<ptrdiff_t> ends_of(const AdamCall<T>& call, bool rest, ptrdiff_t moving, int threads) {
  std::vector<ptrdiff_t> ends;
  ptrdiff_t found = 0, row = 0;
  for (int id = 0; id < threads; ++id) {
    if (rest)
      for (const ptrdiff_t wanted = Share(moving, id, threads).end; found < wanted; ++row) found += call.live[row] != 0;
    ends.push_back(rest && id + 1 < threads ? row : Share(call.rows, id, threads).end);
  }
  return ends;
}

}  // namespace

template <class T>
void adam(const Kernels<T>& kernels, const AdamCall<T>& call, const AdamStep<T>& step, int threads) {
  if (call.live && step.decay != 0 && !call.only_touched) std::fill_n(call.live, call.rows, uint8_t(1));
  for (ptrdiff_t i = 0; call.live && i < call.touched_count; ++i) call.live[call.touched[i]] = 1;
  const bool rest = rests(call, step), some = call.only_touched && call.value == call.parameter;
  const ptrdiff_t moving = some   ? call.touched_count
                           : rest ? call.rows - std::count(call.live, call.live + call.rows, uint8_t(0))
                                  : call.rows;
  const ptrdiff_t most = std::max<ptrdiff_t>(1, moving * call.width / numbers_a_thread);
  for (int count = int(std::min<ptrdiff_t>(threads, most));;) {
    const std::vector<ptrdiff_t> ends = ends_of(call, rest, moving, count);
    const int got = parallel(
        count, [&](int id) { move_rows(kernels, call, step, id ? ends[size_t(id - 1)] : 0, ends[size_t(id)]); });
    if (got == count) return;
    count = got;
  }
}

template void adam(const Kernels<float>&, const AdamCall<float>&, const AdamStep<float>&, int);
template void adam(const Kernels<double>&, const AdamCall<double>&, const AdamStep<double>&, int);

}  // namespace pylstm
