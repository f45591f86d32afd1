// A fault of pybind11 around objects that it cannot register.
#pragma once

#include <pybind11/pybind11.h>

namespace pylstm {

namespace py = pybind11;

// Where there is no memory to register a new object, pybind11 gives its memory back although the smart pointer that was
// to hold it still does, and does so again. An object without its holder is the holder's affair alone.
template <class Class>
void deleted_by_holder(const Class&) {
  static void (*original)(py::detail::value_and_holder&) = nullptr;
  auto* const type = py::detail::get_type_info(typeid(typename Class::type));
  original = type->dealloc;
  type->dealloc = [](py::detail::value_and_holder& object) {
    if (object.holder_constructed())
      original(object);
    else
      object.value_ptr() = nullptr;
  };
}

}  // namespace pylstm
