#include <string.h>

#include <algorithm>
#include <limits>

#include "objects.h"

namespace vfm {

namespace {

constexpr size_t kMaxName = 64;
/* For kernels that write more than the struct says. */
constexpr size_t kRoomBehind = 4096;

/* Puts the address of another place in the memory where the caller has written that place's offset. */
void Relocate(Napi::Value offsets, CallArgs& args) {
  if (offsets.IsUndefined()) return;
  if (!offsets.IsArray()) {
    ThrowType(offsets.Env(), "ERR_INVALID_ARG_TYPE", "The \"pointers\" argument must be an array");
  }
  const Napi::Array array = offsets.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value value = array[i];
    const uint64_t last = args.size < sizeof(uint64_t) ? 0 : args.size - sizeof(uint64_t);
    const uint64_t at = IntegerArg(value, "pointers", 0, last);
    uint64_t pointer;
    memcpy(&pointer, args.memory.data() + at, sizeof(pointer));
    pointer += reinterpret_cast<uintptr_t>(args.memory.data());
    memcpy(args.memory.data() + at, &pointer, sizeof(pointer));
  }
}

std::shared_ptr<CallArgs> ToArgs(Napi::Object given) {
  auto args = std::make_shared<CallArgs>();
  const auto has = [&](const char* name) { return !given.Get(name).IsUndefined(); };
  if (has("memory")) args->memory = BytesArg(given.Get("memory"), "memory", kMaxStruct);
  args->size = args->memory.size();
  args->memory.resize(args->size + kRoomBehind);
  Relocate(given.Get("pointers"), *args);
  if (has("value")) {
    args->value = BigUintArg(given.Get("value"), "value", std::numeric_limits<uintptr_t>::max());
  }
  args->length = has("length") ? IntegerArg(given.Get("length"), "length", 0, kMaxStruct) : args->size;
  /* A real pointer never leads out of what it points to. */
  if (!args->value) args->length = std::min<uint64_t>(args->length, args->memory.size());
  if (has("offset")) {
    args->offset =
        static_cast<int64_t>(BigUintArg(given.Get("offset"), "offset", std::numeric_limits<uint64_t>::max()));
  }
  if (has("number")) args->number = Uint32Arg(given.Get("number"), "number");
  if (has("fd")) args->fd = static_cast<int>(Uint32Arg(given.Get("fd"), "fd"));
  return args;
}

}  // namespace

CallsObject::CallsObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

CallsObject::~CallsObject() {
  if (native()) native()->Close(nullptr);
}

Napi::Value CallsObject::Call(const Napi::CallbackInfo& info) {
  const Calls::Function function = Calls::Find(StringArg(info[0], "name", kMaxName));
  if (!function) ThrowType(info.Env(), "ERR_INVALID_ARG_VALUE", "There is no call of this name");
  if (!info[1].IsObject()) {
    ThrowType(info.Env(), "ERR_INVALID_ARG_TYPE", "The \"args\" argument must be an object");
  }
  const auto given = info[1].As<Napi::Object>();
  const std::shared_ptr<CallArgs> args = ToArgs(given);
  /* Filled when the call is done, as rawIoctl() does it. */
  const Napi::Value memory = given.Get("memory");
  std::shared_ptr<Napi::ObjectReference> array;
  if (!memory.IsUndefined()) {
    array = std::make_shared<Napi::ObjectReference>(Napi::Persistent(memory.As<Napi::Object>()));
    array->SuppressDestruct();
  }
  return Ask(
      info, *native(), [c = native(), function, args] { return c->Make(function, *args); },
      [array, args](Napi::Env env, int& result) -> Napi::Value {
        if (array) {
          const Napi::Value value = array->Value();
          array->Reset();
          const BytesView view = BytesViewArg(value, "memory", std::numeric_limits<size_t>::max());
          if (args->size > 0) memcpy(view.data, args->memory.data(), std::min(args->size, view.size));
        }
        return ToJs(env, result);
      });
}

Napi::Value CallsObject::Close(const Napi::CallbackInfo& info) {
  return AskClose(info, *native());
}

Napi::Function CallsObject::Define(Napi::Env env) {
  using C = CallsObject;
  return DefineClass(env, "NativeCalls",
                     {
                         AsyncMethod<&C::Call>("call"),
                         AsyncMethod<&C::Close>("close"),
                     });
}

}  // namespace vfm
