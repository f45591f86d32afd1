// NumPy arrays at the border: checked, as views, and made.
#pragma once

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "memory.h"
#include "view.h"

namespace pylstm {

namespace py = pybind11;

using Shape = std::vector<ptrdiff_t>;

inline std::string text(const Shape& shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}

// An ndarray of exactly this dtype and shape.
template <class T>
py::array checked(const char* name, const py::handle& object, const Shape& shape, bool contiguous,
                  bool writeable = false) {
  if (!py::isinstance<py::array>(object)) throw py::type_error(std::string(name) + ": expected an array");
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().equal(py::dtype::of<T>())) throw py::type_error(std::string(name) + ": wrong dtype");
  if (Shape(array.shape(), array.shape() + array.ndim()) != shape)
    throw py::value_error(std::string(name) + ": expected shape " + text(shape) + ", got " +
                          text(Shape(array.shape(), array.shape() + array.ndim())));
  if (contiguous && !(array.flags() & py::array::c_style))
    throw py::value_error(std::string(name) + ": expected a C-contiguous array");
  if (writeable && !array.writeable()) throw py::value_error(std::string(name) + ": is read-only");
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(T))
    throw py::value_error(std::string(name) + ": is misaligned");
  return array;
}

// The size of axis i of a matrix.
inline ptrdiff_t axis(const char* name, const py::array& array, int i) {
  if (array.ndim() != 2) throw py::value_error(std::string(name) + ": expected two axes");
  return array.shape(i);
}

// A (T, N, features) array as a view: the last axis contiguous, the other strides whole elements.
template <class T>
View<T> view(const char* name, const py::array& array) {
  const auto element = static_cast<ptrdiff_t>(sizeof(T));
  // Strides of axes of one element, and of empty arrays, may be anything.
  if (array.size() &&
      ((array.shape(2) > 1 && array.strides(2) != element) || (array.shape(0) > 1 && array.strides(0) % element) ||
       (array.shape(1) > 1 && array.strides(1) % element)))
    throw py::value_error(std::string(name) + ": expected a contiguous last axis");
  return {static_cast<T*>(const_cast<void*>(array.data())), array.strides(0) / element, array.strides(1) / element};
}

// A new array of uninitialised elements; a large one in memory that is used again when the array is gone.
template <class T>
py::array_t<T> empty(const Shape& shape) {
  ptrdiff_t size = 1;
  for (ptrdiff_t n : shape) size = checked_product({size, n}, sizeof(T));
  if (size * ptrdiff_t(sizeof(T)) < (64 << 10)) return py::array_t<T>(shape);
  AlignedBuffer<T> buffer(size);
  const py::capsule owner(buffer.data(), [](void* memory) { free_aligned(memory); });
  return py::array_t<T>(shape, buffer.release(), owner);
}

// As `empty`, but never in memory of NumPy's own: behind a capsule or a bytes object, which offer no writeable buffer.
// Once such an array is read-only, NumPy refuses to make it, or what it is a view of, writeable again.
template <class T>
py::array_t<T> sealable(const Shape& shape) {
  ptrdiff_t size = 1;
  for (ptrdiff_t n : shape) size = checked_product({size, n}, sizeof(T));
  const ptrdiff_t bytes = size * ptrdiff_t(sizeof(T));
  if (bytes >= (64 << 10)) return empty<T>(shape);
  const auto memory = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(nullptr, bytes));
  if (!memory) throw py::error_already_set();
  return py::array_t<T>(shape, reinterpret_cast<const T*>(PyBytes_AS_STRING(memory.ptr())), memory);
}

template <class T>
T* data(const py::array& array) {
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// What NumPy keeps of an object that is an array of this very dtype object, in C order, aligned and, if asked for,
// writeable; null for anything else. What steps ask first, in less time than `checked` takes.
inline const py::detail::PyArray_Proxy* plain_array(const py::handle& object, const py::dtype& dtype,
                                                    bool writeable = false) {
  using Api = py::detail::npy_api;
  // Of no subclass: a masked array's numbers are not all there.
  if (Py_TYPE(object.ptr()) != Api::get().PyArray_Type_) return nullptr;
  const auto* array = py::detail::array_proxy(object.ptr());
  const int flags =
      Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_ | (writeable ? int(Api::NPY_ARRAY_WRITEABLE_) : 0);
  return (array->flags & flags) == flags && array->descr == dtype.ptr() ? array : nullptr;
}

// `lengths`, int64 (batch,) or None: null. Each is in 0..steps.
inline const int64_t* checked_lengths(const py::object& lengths, ptrdiff_t steps, ptrdiff_t batch) {
  if (lengths.is_none()) return nullptr;
  const auto* lens = data<const int64_t>(checked<int64_t>("lengths", lengths, {batch}, true));
  for (ptrdiff_t n = 0; n < batch; ++n)
    if (lens[n] < 0 || lens[n] > steps) throw py::value_error("lengths: expected values in 0..T");
  return lens;
}

}  // namespace pylstm
