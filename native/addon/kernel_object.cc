#include <dlfcn.h>

#include <limits>
#include <string_view>

#include "objects.h"

namespace vfm {

namespace {

constexpr size_t kMaxScenario = size_t{64} << 20;

struct MockLibrary {
  vfio_mock_create_fn create;
  vfio_mock_control_fn control;
  vfio_mock_free_fn free;
};

template <class Function>
Function Symbol(Napi::Env env, void* library, const char* name, const std::string& path) {
  void* symbol = dlsym(library, name);
  if (!symbol) throw Napi::Error::New(env, path + " is not a mock kernel: it has no " + name);
  return reinterpret_cast<Function>(symbol);
}

/* The library is never unloaded: a thread may be inside it when the environment ends. */
MockLibrary LoadMock(Napi::Env env, const std::string& path) {
  if (path.empty() || path[0] != '/') {
    /* A bare name would be looked up along the search path of the dynamic linker. */
    ThrowType(env, "ERR_INVALID_ARG_VALUE", "The \"library\" argument must be an absolute path");
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw Napi::Error::New(env, std::string("The mock kernel cannot be loaded: ") + dlerror());
  return {Symbol<vfio_mock_create_fn>(env, library, VFIO_MOCK_CREATE, path),
          Symbol<vfio_mock_control_fn>(env, library, VFIO_MOCK_CONTROL, path),
          Symbol<vfio_mock_free_fn>(env, library, VFIO_MOCK_FREE, path)};
}

[[noreturn]] void ThrowErrno(Napi::Env env, int negated, const std::string& sentence) {
  Napi::Error error = Napi::Error::New(env, sentence);
  error.Value().Set("errno", Napi::Number::New(env, negated));
  throw error;
}

int AccessModeArg(Napi::Value value) {
  return static_cast<int>(IntegerArg(value, "mode", 0, 7));
}

}  // namespace

KernelObject::KernelObject(const Napi::CallbackInfo& info) : Wrapped(info) {
  const Napi::Env env = info.Env();
  const KernelRef& kernel = native()->kernel();
  vfm_uname uname = {};
  const int error = kernel->uname(kernel->ctx, &uname);
  if (error < 0) throw Napi::Error(env, ToError(env, Failure::Errno(-error, "uname")));
  Napi::Object name = Napi::Object::New(env);
  name.Set("sysname", Napi::String::New(env, uname.sysname));
  name.Set("release", Napi::String::New(env, uname.release));
  name.Set("machine", Napi::String::New(env, uname.machine));
  name.Freeze();
  const Napi::String kind = Napi::String::New(env, kernel->kind(kernel->ctx));
  this->Value().DefineProperties({
      Napi::PropertyDescriptor::Value("kind", kind, napi_enumerable),
      Napi::PropertyDescriptor::Value("uname", name, napi_enumerable),
  });
}

KernelObject::~KernelObject() {
  if (native()) native()->Close(nullptr);
}

Napi::Object KernelObject::New(Napi::Env env, KernelRef kernel) {
  EnvData& data = EnvData::Of(env);
  return Wrap(env, data.classes.kernel, Worker::Make<FileTree>(data.channel, std::move(kernel)));
}

Napi::Value KernelObject::NewMock(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = PathArg(info[0], "library");
  const std::string scenario = StringArg(info[1], "scenario", kMaxScenario);
  const bool persistent = !info[2].IsNull();
  const std::string state_dir = persistent ? PathArg(info[2], "stateDir") : std::string();

  const MockLibrary library = LoadMock(env, path);
  vfm_kernel* table = nullptr;
  char sentence[1024] = "";
  const int error =
      library.create(VFM_KERNEL_ABI, scenario.data(), scenario.size(),
                     persistent ? state_dir.c_str() : nullptr, &table, sentence, sizeof(sentence));
  if (error < 0) ThrowErrno(env, error, sentence[0] ? sentence : "The scenario was refused");
  if (table->abi != VFM_KERNEL_ABI || table->size < VFM_KERNEL_MIN_SIZE) {
    /* Not released: where the members of another ABI stand is not known. */
    throw Napi::Error::New(env, path + " has another ABI than this addon: " + std::to_string(table->abi) +
                                    ", " + std::to_string(table->size) + " bytes; expected " +
                                    std::to_string(VFM_KERNEL_ABI) + ", " +
                                    std::to_string(VFM_KERNEL_MIN_SIZE));
  }
  Napi::Object object = New(env, KernelRef::Adopt(table));
  KernelObject* self = From(object);
  self->control_ = library.control;
  self->free_ = library.free;
  object.DefineProperty(Napi::PropertyDescriptor::Function(env, object, "control", Control, napi_enumerable));
  return object;
}

Napi::Value KernelObject::Control(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  KernelObject* self = From(info.This());
  if (!self || !self->control_) throw Napi::TypeError::New(env, "Illegal invocation");
  const std::string request = StringArg(info[0], "request", kMaxScenario);
  if (self->native()->closing()) throw Napi::Error(env, ToError(env, Failure::Code("ERR_CLOSED", "control")));
  char* answer = nullptr;
  const int error = self->control_(self->native()->kernel().get(), request.data(), request.size(), &answer);
  const std::string text = answer ? answer : "";
  if (answer) self->free_(answer);
  if (error < 0) ThrowErrno(env, error, text);
  return Napi::String::New(env, text);
}

Napi::Value KernelObject::ReadFile(const Napi::CallbackInfo& info) {
  const std::string path = PathArg(info[0], "path");
  const auto max = static_cast<size_t>(IntegerArg(info[1], "max", 0, kMaxFile));
  return Ask(info, *native(), [t = native(), path, max] { return t->ReadFile(path, max); });
}

Napi::Value KernelObject::WriteFile(const Napi::CallbackInfo& info) {
  const std::string path = PathArg(info[0], "path");
  return Ask(info, *native(), [t = native(), path, data = BytesArg(info[1], "data", kMaxFile)] {
    return t->WriteFile(path, data);
  });
}

Napi::Value KernelObject::Readdir(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [t = native(), path = PathArg(info[0], "path")] { return t->Readdir(path); });
}

Napi::Value KernelObject::Readlink(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [t = native(), path = PathArg(info[0], "path")] { return t->Readlink(path); });
}

Napi::Value KernelObject::Stat(const Napi::CallbackInfo& info) {
  const std::string path = PathArg(info[0], "path");
  const bool nofollow = BoolArg(info[1], "nofollow");
  return Ask(info, *native(), [t = native(), path, nofollow] { return t->Stat(path, nofollow); });
}

Napi::Value KernelObject::Access(const Napi::CallbackInfo& info) {
  const std::string path = PathArg(info[0], "path");
  const int mode = AccessModeArg(info[1]);
  return Ask(info, *native(), [t = native(), path, mode] { return t->Access(path, mode); });
}

Napi::Value KernelObject::CreateDevice(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  EnvData& data = EnvData::Of(env);
  if (native()->closing()) throw Napi::Error(env, ToError(env, Failure::Code("ERR_CLOSED", "createDevice")));
  return Wrap(env, data.classes.device, Worker::Make<Device>(data.channel, native()->kernel()));
}

Napi::Value KernelObject::CreatePeer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  EnvData& data = EnvData::Of(env);
  if (native()->closing()) throw Napi::Error(env, ToError(env, Failure::Code("ERR_CLOSED", "createPeer")));
  return Wrap(env, data.classes.peer, Worker::Make<Peer>(data.channel, native()->kernel()));
}

Napi::Value KernelObject::CreateCalls(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  EnvData& data = EnvData::Of(env);
  if (native()->closing()) throw Napi::Error(env, ToError(env, Failure::Code("ERR_CLOSED", "createCalls")));
  return Wrap(env, data.classes.calls, Worker::Make<Calls>(data.channel, native()->kernel()));
}

Napi::Value KernelObject::Close(const Napi::CallbackInfo& info) {
  return AskClose(info, *native());
}

Napi::Function KernelObject::Define(Napi::Env env) {
  using K = KernelObject;
  return DefineClass(env, "NativeKernel",
                     {
                         AsyncMethod<&K::ReadFile>("readFile"),
                         AsyncMethod<&K::WriteFile>("writeFile"),
                         AsyncMethod<&K::Readdir>("readdir"),
                         AsyncMethod<&K::Readlink>("readlink"),
                         AsyncMethod<&K::Stat>("stat"),
                         AsyncMethod<&K::Access>("access"),
                         InstanceMethod<&K::CreateDevice>("createDevice"),
                         InstanceMethod<&K::CreatePeer>("createPeer"),
                         InstanceMethod<&K::CreateCalls>("createCalls"),
                         AsyncMethod<&K::Close>("close"),
                     });
}

}  // namespace vfm
