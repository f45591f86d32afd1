// Sizes and buffers: checked products of ptrdiff_t, and memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>
#include <stdexcept>

namespace pylstm {

// The product of sizes; std::bad_alloc (MemoryError in Python) where it passes PTRDIFF_MAX bytes of `element`.
inline ptrdiff_t checked_product(std::initializer_list<ptrdiff_t> factors, size_t element = 1) {
  ptrdiff_t product = static_cast<ptrdiff_t>(element);
  for (ptrdiff_t factor : factors)
    if (__builtin_mul_overflow(product, factor, &product)) throw std::bad_alloc();
  return product / static_cast<ptrdiff_t>(element);
}

// Uninitialised memory, aligned to a cache line. Large buffers ask for huge pages, and freed ones are kept for the next
// call (256 MiB at most), since page faults would cost as much as the arithmetic.
void* allocate_aligned(size_t bytes);
void free_aligned(void* p);
// Gives the kept buffers back to the system.
void release_memory();

template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(ptrdiff_t n)
      : data_(n ? static_cast<T*>(allocate_aligned(size_t(checked_product({n}, sizeof(T))) * sizeof(T))) : nullptr),
        size_(n) {}

  T* data() const { return data_.get(); }
  T* release() { return data_.release(); }  // the caller frees it with free_aligned
  ptrdiff_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* p) const { free_aligned(p); }
  };
  std::unique_ptr<T, Free> data_;
  ptrdiff_t size_ = 0;
};

}  // namespace pylstm
