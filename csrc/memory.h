// Sizes and buffers: checked products of ptrdiff_t, and memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

namespace pylstm {

// The product of sizes; std::bad_alloc (MemoryError in Python) where it passes PTRDIFF_MAX bytes of `element`.
inline ptrdiff_t checked_product(std::initializer_list<ptrdiff_t> factors, size_t element = 1) {
  ptrdiff_t product = static_cast<ptrdiff_t>(element);
  for (ptrdiff_t factor : factors)
    if (__builtin_mul_overflow(product, factor, &product)) throw std::bad_alloc();
  return product / static_cast<ptrdiff_t>(element);
}

// Uninitialised memory, aligned to a cache line. Freed buffers are kept for the next call (256 MiB at most), since page
// faults would cost as much as the arithmetic. From `huge_from` bytes on it lies on huge pages where the system has
// them.
inline constexpr size_t huge_from_default = size_t(4) << 20;
void* allocate_aligned(size_t bytes, size_t huge_from = huge_from_default);
void free_aligned(void* p);
// Gives the kept buffers back to the system.
void release_memory();

template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(ptrdiff_t n, size_t huge_from = huge_from_default)
      : data_(n ? static_cast<T*>(allocate_aligned(size_t(checked_product({n}, sizeof(T))) * sizeof(T), huge_from))
                : nullptr),
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

// Many buffers in one allocation: the same calls are made twice, first to add the sizes up, then to hand out the parts.
class Arena {
 public:
  // Bytes on a cache line of their own; null while sizes are added up.
  std::byte* take(ptrdiff_t bytes) {
    constexpr ptrdiff_t line = 64;
    std::byte* part = buffer_.data() ? buffer_.data() + used_ : nullptr;
    if (bytes > PTRDIFF_MAX - line || __builtin_add_overflow(used_, (bytes + line - 1) / line * line, &used_))
      throw std::bad_alloc();
    return part;
  }
  void allocate(size_t huge_from) { buffer_ = AlignedBuffer<std::byte>(std::exchange(used_, 0), huge_from); }

 private:
  AlignedBuffer<std::byte> buffer_;
  ptrdiff_t used_ = 0;
};

}  // namespace pylstm
