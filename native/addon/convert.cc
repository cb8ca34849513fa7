#include "convert.h"

#include <string.h>

#include <cmath>
#include <limits>

#include "env.h"

namespace vfm {

namespace {

constexpr size_t kLongestPath = 64 << 10;

template <class Error>
[[noreturn]] void Throw(Napi::Env env, const char* code, const std::string& message) {
  Error error = Error::New(env, message);
  error.Value().Set("code", Napi::String::New(env, code));
  throw error;
}

[[noreturn]] void ThrowRange(Napi::Env env, const std::string& message) {
  Throw<Napi::RangeError>(env, "ERR_OUT_OF_RANGE", message);
}

void RequireType(Napi::Value value, bool is, const char* name, const char* type) {
  if (!is) {
    ThrowType(value.Env(), "ERR_INVALID_ARG_TYPE",
              std::string("The \"") + name + "\" argument must be " + type);
  }
}

std::string RangeSentence(const char* name, uint64_t min, uint64_t max) {
  return std::string("The value of \"") + name + "\" must be from " + std::to_string(min) + " to " +
         std::to_string(max);
}

Napi::Value Optional(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Undefined() : Napi::String::New(env, text);
}

}  // namespace

void ThrowType(Napi::Env env, const char* code, const std::string& message) {
  Throw<Napi::TypeError>(env, code, message);
}

uint64_t IntegerArg(Napi::Value value, const char* name, uint64_t min, uint64_t max) {
  RequireType(value, value.IsNumber(), name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  /* Written so that NaN is refused. */
  const bool in_range = number >= static_cast<double>(min) && number <= static_cast<double>(max);
  if (!in_range || number != std::floor(number)) {
    ThrowRange(value.Env(), RangeSentence(name, min, max) + ", an integer");
  }
  return static_cast<uint64_t>(number);
}

uint32_t Uint32Arg(Napi::Value value, const char* name) {
  return static_cast<uint32_t>(IntegerArg(value, name, 0, std::numeric_limits<uint32_t>::max()));
}

uint64_t BigUintArg(Napi::Value value, const char* name, uint64_t max) {
  RequireType(value, value.IsBigInt(), name, "a BigInt");
  bool lossless = false;
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless || number > max) ThrowRange(value.Env(), RangeSentence(name, 0, max));
  return number;
}

bool BoolArg(Napi::Value value, const char* name) {
  if (value.IsUndefined()) return false;
  RequireType(value, value.IsBoolean(), name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string StringArg(Napi::Value value, const char* name, size_t max_bytes) {
  RequireType(value, value.IsString(), name, "a string");
  size_t size = 0;
  if (napi_get_value_string_utf8(value.Env(), value, nullptr, 0, &size) != napi_ok) {
    throw Napi::Error::New(value.Env());
  }
  if (size > max_bytes) {
    ThrowRange(value.Env(), std::string("The \"") + name + "\" argument is longer than " +
                                std::to_string(max_bytes) + " bytes");
  }
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) {
    ThrowType(value.Env(), "ERR_INVALID_ARG_VALUE",
              std::string("The \"") + name + "\" argument has a NUL in it");
  }
  return text;
}

std::string PathArg(Napi::Value value, const char* name) {
  return StringArg(value, name, kLongestPath);
}

namespace {

/* The memory of a typed array of one type, `size` in elements. */
void* TypedArrayMemory(Napi::Value value, const char* name, napi_typedarray_type wanted,
                       const std::string& type_name, size_t& size) {
  const Napi::Env env = value.Env();
  napi_typedarray_type type;
  void* data = nullptr;
  napi_value buffer = nullptr;
  if (!value.IsTypedArray() ||
      napi_get_typedarray_info(env, value, &type, &size, &data, &buffer, nullptr) != napi_ok ||
      type != wanted) {
    RequireType(value, false, name, type_name.c_str());
  }
  /* A SharedArrayBuffer is none: another thread may change it while it is checked. */
  bool own = false;
  bool detached = false;
  if (napi_is_arraybuffer(env, buffer, &own) != napi_ok || !own) {
    RequireType(value, false, name, (type_name + " on an ArrayBuffer").c_str());
  }
  if (napi_is_detached_arraybuffer(env, buffer, &detached) != napi_ok || detached) {
    ThrowType(env, "ERR_INVALID_ARG_VALUE", std::string("The memory of \"") + name + "\" is detached");
  }
  return data;
}

}  // namespace

BytesView BytesViewArg(Napi::Value value, const char* name, size_t max) {
  size_t size = 0;
  void* data = TypedArrayMemory(value, name, napi_uint8_array, "a Uint8Array", size);
  if (size > max) {
    ThrowRange(value.Env(),
               std::string("The \"") + name + "\" argument is longer than " + std::to_string(max) + " bytes");
  }
  return {static_cast<uint8_t*>(data), size};
}

WordsView WordsViewArg(Napi::Value value, const char* name) {
  size_t size = 0;
  void* data = TypedArrayMemory(value, name, napi_biguint64_array, "a BigUint64Array", size);
  return {static_cast<uint64_t*>(data), size};
}

Bytes BytesArg(Napi::Value value, const char* name, size_t max) {
  const BytesView view = BytesViewArg(value, name, max);
  /* Not through the pointer when there is nothing: it may be null. */
  return view.size == 0 ? Bytes() : Bytes(view.data, view.data + view.size);
}

HeldBytes HeldBytesArg(Napi::Value value, const char* name, size_t max) {
  const BytesView view = BytesViewArg(value, name, max);
  if (std::shared_ptr<const Block> lent = FindLent(view.data, view.size))
    return {std::move(lent), view.data, view.size};
  Block block = NewBlock(view.size);
  if (!block.data) throw Napi::Error(value.Env(), ToError(value.Env(), Failure::Errno(ENOMEM, "malloc")));
  if (view.size != 0) memcpy(block.data.get(), view.data, view.size);
  const uint8_t* data = block.data.get();
  return {std::make_shared<const Block>(std::move(block)), data, view.size};
}

Napi::Value ToJs(Napi::Env env, Nothing&) {
  return env.Undefined();
}
Napi::Value ToJs(Napi::Env env, int& value) {
  return Napi::Number::New(env, value);
}
Napi::Value ToJs(Napi::Env env, uint32_t& value) {
  return Napi::Number::New(env, value);
}
Napi::Value ToJs(Napi::Env env, uint64_t& value) {
  return Napi::BigInt::New(env, value);
}
Napi::Value ToJs(Napi::Env env, std::string& value) {
  return Napi::String::New(env, value);
}

Napi::Value ToJs(Napi::Env env, std::vector<std::string>& value) {
  Napi::Array array = Napi::Array::New(env, value.size());
  for (uint32_t i = 0; i < value.size(); ++i) array.Set(i, Napi::String::New(env, value[i]));
  return array;
}

Napi::Value ToJs(Napi::Env env, Bytes& value) {
  Napi::Buffer<uint8_t> buffer = Napi::Buffer<uint8_t>::New(env, value.size());
  if (!value.empty()) memcpy(buffer.Data(), value.data(), value.size());
  return buffer;
}

Napi::Value ToJs(Napi::Env env, Block& value) {
  const bool well_used = value.size > 0 && value.size >= value.capacity() / 2;
  if (!well_used) {
    Napi::Buffer<uint8_t> buffer = Napi::Buffer<uint8_t>::New(env, value.size);
    if (value.size > 0) memcpy(buffer.Data(), value.data.get(), value.size);
    return buffer;
  }
  const size_t size = value.size;
  const auto loan = std::make_shared<const Loan>(std::move(value));
  return Napi::Buffer<uint8_t>::NewOrCopy(env, loan->block().data.get(), size,
                                          [loan](Napi::Env, uint8_t*) {});
}

Napi::Value ToJs(Napi::Env env, vfm_stat& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("mode", Napi::Number::New(env, value.mode));
  object.Set("uid", Napi::Number::New(env, value.uid));
  object.Set("size", Napi::BigInt::New(env, value.size));
  object.Set("rdev", Napi::BigInt::New(env, value.rdev));
  object.Set("ino", Napi::BigInt::New(env, value.ino));
  return object;
}

Napi::Value ToJs(Napi::Env env, uapi::PrecopyInfo& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("flags", Napi::Number::New(env, value.flags));
  object.Set("initialBytes", Napi::BigInt::New(env, value.initial_bytes));
  object.Set("dirtyBytes", Napi::BigInt::New(env, value.dirty_bytes));
  return object;
}

Napi::Value ToJs(Napi::Env env, uapi::DeviceInfo& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("flags", Napi::Number::New(env, value.flags));
  object.Set("regions", Napi::Number::New(env, value.num_regions));
  object.Set("irqs", Napi::Number::New(env, value.num_irqs));
  return object;
}

Napi::Value ToJs(Napi::Env env, uapi::RegionInfo& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("flags", Napi::Number::New(env, value.flags));
  object.Set("size", Napi::BigInt::New(env, value.size));
  object.Set("offset", Napi::BigInt::New(env, value.offset));
  return object;
}

Napi::Value ToJs(Napi::Env env, uapi::IrqInfo& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("flags", Napi::Number::New(env, value.flags));
  object.Set("count", Napi::Number::New(env, value.count));
  return object;
}

Napi::Value ToError(Napi::Env env, const Failure& failure) {
  const Napi::Value bytes = failure.bytes ? Napi::BigInt::New(env, *failure.bytes) : env.Undefined();
  return EnvData::Of(env).error_factory.Call({
      Napi::Number::New(env, -failure.error),
      Optional(env, failure.code),
      Napi::String::New(env, failure.syscall),
      Optional(env, failure.path),
      Optional(env, failure.side),
      bytes,
  });
}

}  // namespace vfm
