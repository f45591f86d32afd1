// A handler for XLA's foreign function interface, through which a program of JAX calls Python without JAX' callback.
//
// XLA calls it with a frame of plain C structs, whose layout its C API fixes (xla/ffi/api/c_api.h, major version 0:
// fields are only ever added at the end, and every struct begins with its size). The few that are read are declared
// here, so that building needs no header of JAX. Another major version, or a struct that is shorter than what is read,
// is refused when the handler is registered.
#include <cstdint>
#include <string>

#include "python/bindings.h"
#include "python/gil.h"

namespace pylstm {
namespace {

constexpr int major_version = 0;
constexpr int metadata_extension = 1, execute_stage = 3, string_attribute = 4;
constexpr int invalid_argument = 3, internal_error = 13;

struct Extension {
  size_t size;
  int type;
  Extension* next;
};

struct Version {
  size_t size;
  Extension* extensions;
  int major, minor;
};

struct Metadata {  // what follows stays as XLA has set it: no traits, no state
  size_t size;
  Version version;
};

struct MetadataExtension {
  Extension base;
  Metadata* metadata;
};

struct ErrorArguments {
  size_t size;
  Extension* extensions;
  const char* message;
  int code;
};

struct Api {
  size_t size;
  Extension* extensions;
  Version version;
  const void* internal;
  void* (*create_error)(ErrorArguments*);
};

struct Buffer {
  size_t size;
  Extension* extensions;
  int dtype;
  void* data;
  int64_t rank;
  const int64_t* dims;
};

struct Buffers {
  size_t size;
  Extension* extensions;
  int64_t count;
  const int* types;
  Buffer** buffers;
};

struct Text {
  const char* data;
  size_t size;
};

struct Attributes {
  size_t size;
  Extension* extensions;
  int64_t count;
  const int* types;
  Text** names;
  void** values;
};

struct Frame {
  size_t size;
  Extension* extensions;
  const Api* api;
  void* context;
  int stage;
  Buffers inputs, outputs;
  Attributes attributes;
};

// What handlers call, once there is one; lives as long as the process, as XLA keeps handlers.
PyObject* target = nullptr;

void* error(const Frame& frame, int code, const std::string& message) {
  ErrorArguments arguments{sizeof(ErrorArguments), nullptr, message.c_str(), code};
  return frame.api->create_error(&arguments);
}

// XLA asks for the version that the handler was made for before it takes it.
void answer(const Frame& frame, const MetadataExtension& asked) {
  Version& version = asked.metadata->version;
  const bool fits = frame.size >= sizeof(Frame) && frame.api && frame.api->size >= sizeof(Api) &&
                    frame.api->version.major == major_version;
  version.major = fits ? major_version : -1;
  version.minor = fits ? frame.api->version.minor : -1;
}

// type: one of XLA's numbers, PrimitiveType: S32, U32, F32 and F64 here.
py::dtype dtype(int type) {
  switch (type) {
    case 4:
      return py::dtype::of<int32_t>();
    case 8:
      return py::dtype::of<uint32_t>();
    case 11:
      return py::dtype::of<float>();
    case 12:
      return py::dtype::of<double>();
  }
  throw py::type_error("a buffer has a dtype that is not expected");
}

// A view, which nobody may keep: the memory is XLA's, and no array's. Any object may stand for its owner.
py::array view(const Buffer& buffer) {
  std::vector<py::ssize_t> shape(buffer.dims, buffer.dims + buffer.rank);
  return {dtype(buffer.dtype), std::move(shape), buffer.data, py::handle(target)};
}

py::tuple views(const Buffers& buffers) {
  py::tuple found{size_t(buffers.count)};
  for (int64_t i = 0; i < buffers.count; ++i) found[size_t(i)] = view(*buffers.buffers[i]);
  return found;
}

void* call(const Frame& frame) {
  try {
    if (frame.attributes.count != 1 || frame.attributes.types[0] != string_attribute)
      throw py::type_error("expected one attribute, a string");
    const Text& text = *static_cast<const Text*>(frame.attributes.values[0]);
    const py::handle called = target;
    called(py::str(text.data, text.size), views(frame.inputs), views(frame.outputs));
    return nullptr;
  } catch (py::error_already_set& raised) {
    const bool users = raised.matches(PyExc_ValueError) || raised.matches(PyExc_TypeError);
    std::string message = "pylstm: ";
    try {
      message += py::str(raised.type().attr("__name__")).cast<std::string>() + ": ";
      message += py::str(raised.value()).cast<std::string>();
    } catch (py::error_already_set&) {
      message += "(without a message)";
    }
    return error(frame, users ? invalid_argument : internal_error, message);
  } catch (const std::exception& raised) {
    return error(frame, internal_error, std::string("pylstm: ") + raised.what());
  }
}

void* handle(Frame* frame) noexcept {
  for (Extension* one = frame->extensions; one; one = one->next)
    if (one->type == metadata_extension) {
      answer(*frame, *reinterpret_cast<MetadataExtension*>(one));
      return nullptr;
    }
  if (frame->stage != execute_stage) return nullptr;
  const PyGILState_STATE state = or_hang([] { return PyGILState_Ensure(); });
  void* failed = call(*frame);
  PyGILState_Release(state);
  return failed;
}

}  // namespace

py::capsule xla_handler(const py::function& called) {
  Py_XDECREF(target);
  target = py::object(called).release().ptr();
  return py::capsule(reinterpret_cast<void*>(&handle));
}

}  // namespace pylstm
