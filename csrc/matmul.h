// c = init + a . b over threads: every matrix product outside the recurrence.
//
// Same bits: every element of c is a sum of chains of fused multiply-adds in ascending k, cut at multiples of `chain`,
// whatever the number of threads, the rows and columns beside it, and the strides.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "interrupt.h"
#include "kernels.h"
#include "matmul_kernels.h"
#include "memory.h"
#include "parallel.h"

namespace pylstm {

// Terms of a chain. Longer ones lose to rounding (an output of 5,000 terms), and their panels to the cache.
constexpr ptrdiff_t product_chain = 512;
// The same for a weight gradient, a sum over the rows of a batch.
constexpr ptrdiff_t gradient_chain = 128;

// rows x k times k x columns. One stride of a, one of b and the column stride of c are 1.
template <class T>
struct MatmulCall {
  ptrdiff_t rows = 0, k = 0, columns = 0;
  Matrix<const T> a, b;
  Matrix<T> c;
  const T* init = nullptr;  // of every column, for all rows; null: zero
  ptrdiff_t chain = product_chain;
};

double matmul_cycles(ptrdiff_t rows, ptrdiff_t k, ptrdiff_t columns, ptrdiff_t lanes);
// How many threads are worth waking.
int useful_threads(double cycles, int threads);

struct Range {
  ptrdiff_t begin, end;
  ptrdiff_t size() const { return end - begin; }
};

// Rows k of the columns of b as panels, one behind the other, cut as `PanelCuts` says: one member's share of them.
template <class T>
void pack_panels(const MatmulKernels<T>& kernels, ptrdiff_t lanes, const Matrix<const T>& b, Range k, Range columns,
                 int member, int members, T* panels);

// A product's share of every worker, and the memory it needs; for products of one size, one after the other.
template <class T>
class Matmul {
 public:
  Matmul(const MatmulKernels<T>& kernels, ptrdiff_t lanes, const MatmulCall<T>& call, int threads,
         const Interrupt& interrupt);

  // By every worker, `id` of `threads`, even after an interrupt: the others may be waiting. `call` differs from the one
  // above in its pointers alone; `asker` is the worker's number for Interrupt::poll.
  void run(const MatmulCall<T>& call, int id, int asker, Interrupt& interrupt);

 private:
  // Workers share a product as a grid of rows x columns; those of one column of the grid are a team, which packs a
  // group of panels together and then uses it.
  struct Team {
    AlignedBuffer<T> panels[2];  // one is read while the next one is filled
    Barrier barrier;
    Team(ptrdiff_t size, int buffers, int members, const Interrupt& interrupt)
        : panels{AlignedBuffer<T>(size), AlignedBuffer<T>(buffers > 1 ? size : 0)}, barrier(members, interrupt) {}
  };

  void multiply(const MatmulCall<T>& call, Range k, Range rows, Range columns, const T* panels, T* a_tiles, int asker,
                Interrupt& interrupt) const;

  const MatmulKernels<T>& kernels_;
  const ptrdiff_t lanes_, rows_, k_, columns_;
  const bool packs_a_;
  int grid_rows_ = 1, grid_columns_ = 1;
  ptrdiff_t depth_ = 0;  // rows of b in a group
  ptrdiff_t group_ = 0;  // columns of a group
  std::vector<std::unique_ptr<Team>> teams_;
  std::vector<AlignedBuffer<T>> a_tiles_;  // of every worker
};

// Batches of products of one size; false: interrupted. `starts`: the elements between the starts of each one's a, b, c
// and those of the first.
struct MatmulStart {
  ptrdiff_t a, b, c;
};
template <class T>
[[nodiscard]] bool matmul(const Kernels<T>& kernels, const MatmulCall<T>& call, const std::vector<MatmulStart>& starts,
                          Interrupted interrupted, int threads);

}  // namespace pylstm
