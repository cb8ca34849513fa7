/* The addon's exports: `contract`, and `create(errorFactory)`, which gives the Binding of
 * lib/binding/types.ts. */
#include <napi.h>

#include <limits>

#include "../kernel/linux.h"
#include "../vfio/crc32c.h"
#include "objects.h"

namespace vfm {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kSanitizer = "address";
#elif defined(__SANITIZE_THREAD__)
constexpr const char* kSanitizer = "thread";
#else
constexpr const char* kSanitizer = "none";
#endif

#if defined(__clang__)
constexpr const char* kCompiler = __VERSION__;
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

Napi::Value LinuxKernel(const Napi::CallbackInfo& info) {
  EnvData& data = EnvData::Of(info.Env());
  if (!data.linux_kernel.IsEmpty()) {
    const Napi::Object known = data.linux_kernel.Value();
    if (!KernelObject::From(known)->native()->closing()) return known;
  }
  const Napi::Object object = KernelObject::New(info.Env(), KernelRef::Adopt(vfm_linux_kernel()));
  data.linux_kernel = Napi::Persistent(object);
  return object;
}

Napi::Value Crc(const Napi::CallbackInfo& info) {
  const uint32_t seed = info[1].IsUndefined() ? 0 : Uint32Arg(info[1], "seed");
  const BytesView view = BytesViewArg(info[0], "data", std::numeric_limits<size_t>::max());
  return Napi::Number::New(info.Env(), view.size == 0 ? seed : Crc32c(seed, view.data, view.size));
}

Napi::Value CrcCombine(const Napi::CallbackInfo& info) {
  const uint32_t a = Uint32Arg(info[0], "a");
  const uint32_t b = Uint32Arg(info[1], "b");
  const uint64_t length = BigUintArg(info[2], "lengthB", std::numeric_limits<uint64_t>::max());
  return Napi::Number::New(info.Env(), Crc32cCombine(a, b, length));
}

Napi::Value Build(Napi::Env env) {
  Napi::Object build = Napi::Object::New(env);
  build.Set("crc32c", Crc32cName());
  build.Set("napi", Napi::Number::New(env, NAPI_VERSION));
  build.Set("compiler", kCompiler);
  build.Set("sanitizer", kSanitizer);
  build.Freeze();
  return build;
}

Napi::Value Create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) {
    ThrowType(env, "ERR_INVALID_ARG_TYPE", "The \"errorFactory\" argument must be a function");
  }
  EnvData::Of(env).error_factory = Napi::Persistent(info[0].As<Napi::Function>());
  Napi::Object binding = Napi::Object::New(env);
  binding.Set("contract", Napi::Number::New(env, 1));
  binding.Set("build", Build(env));
  binding.Set("linuxKernel", Napi::Function::New<LinuxKernel>(env, "linuxKernel"));
  binding.Set("mockKernel", Napi::Function::New<KernelObject::NewMock>(env, "mockKernel"));
  binding.Set("crc32c", Napi::Function::New<Crc>(env, "crc32c"));
  binding.Set("crc32cCombine", Napi::Function::New<CrcCombine>(env, "crc32cCombine"));
  binding.Set("bitmapCount", Napi::Function::New<BitmapCalls::Count>(env, "bitmapCount"));
  binding.Set("bitmapRuns", Napi::Function::New<BitmapCalls::Runs>(env, "bitmapRuns"));
  binding.Set("bitmapOr", Napi::Function::New<BitmapCalls::Or>(env, "bitmapOr"));
  binding.Set("createFrameOutput", Napi::Function::New<FrameOutputObject::Create>(env, "createFrameOutput"));
  binding.Set("startTransfer", Napi::Function::New<TransferObject::Start>(env, "startTransfer"));
  binding.Freeze();
  return binding;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto data = std::make_unique<EnvData>(env);
  data->classes.kernel = Napi::Persistent(KernelObject::Define(env));
  data->classes.device = Napi::Persistent(DeviceObject::Define(env));
  data->classes.data_fd = Napi::Persistent(DataFdObject::Define(env));
  data->classes.transfer = Napi::Persistent(TransferObject::Define(env));
  data->classes.frame_output = Napi::Persistent(FrameOutputObject::Define(env));
  data->classes.peer = Napi::Persistent(PeerObject::Define(env));
  data->classes.calls = Napi::Persistent(CallsObject::Define(env));
  env.SetInstanceData(data.release());
  exports.Set("contract", Napi::Number::New(env, 1));
  exports.Set("create", Napi::Function::New<Create>(env, "create"));
  return exports;
}

}  // namespace

NODE_API_MODULE(vfio_migrate, Init)

}  // namespace vfm
