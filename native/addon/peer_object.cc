#include <limits>

#include "objects.h"

namespace vfm {

namespace {

constexpr size_t kMaxMessage = size_t{64} << 10;

}  // namespace

PeerObject::PeerObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

PeerObject::~PeerObject() {
  if (native()) native()->Close(nullptr);
}

Napi::Value PeerObject::AdoptFd(const Napi::CallbackInfo& info) {
  const auto fd = static_cast<int>(IntegerArg(info[0], "fd", 0, std::numeric_limits<int>::max()));
  return Ask(info, *native(), [p = native(), fd] { return p->AdoptFd(fd); });
}

Napi::Value PeerObject::OpenProcess(const Napi::CallbackInfo& info) {
  const auto pid = static_cast<int32_t>(IntegerArg(info[0], "pid", 1, std::numeric_limits<int32_t>::max()));
  return Ask(info, *native(), [p = native(), pid] { return p->OpenProcess(pid); });
}

Napi::Value PeerObject::OpenEvent(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [p = native()] { return p->OpenEvent(); });
}

Napi::Value PeerObject::Connect(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [p = native(), path = PathArg(info[0], "path")] { return p->Connect(path); });
}

Napi::Value PeerObject::WaitReadable(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [p = native()] { return p->WaitReadable(); });
}

Napi::Value PeerObject::Read(const Napi::CallbackInfo& info) {
  const auto max = static_cast<size_t>(IntegerArg(info[0], "max", 1, kMaxMessage));
  return Ask(info, *native(), [p = native(), max] { return p->Read(max); });
}

Napi::Value PeerObject::Write(const Napi::CallbackInfo& info) {
  return Ask(info, *native(),
             [p = native(), data = BytesArg(info[0], "data", kMaxMessage)] { return p->Write(data); });
}

Napi::Value PeerObject::Signal(const Napi::CallbackInfo& info) {
  const auto number = static_cast<int>(IntegerArg(info[0], "signal", 0, 64));
  return Ask(info, *native(), [p = native(), number] { return p->Signal(number); });
}

void PeerObject::Cancel(const Napi::CallbackInfo&) {
  native()->Cancel();
}

Napi::Value PeerObject::Close(const Napi::CallbackInfo& info) {
  native()->Cancel();
  return AskClose(info, *native());
}

Napi::Function PeerObject::Define(Napi::Env env) {
  using P = PeerObject;
  return DefineClass(env, "NativePeer",
                     {
                         AsyncMethod<&P::AdoptFd>("adoptFd"),
                         AsyncMethod<&P::OpenProcess>("openProcess"),
                         AsyncMethod<&P::OpenEvent>("openEvent"),
                         AsyncMethod<&P::Connect>("connect"),
                         AsyncMethod<&P::WaitReadable>("waitReadable"),
                         AsyncMethod<&P::Read>("read"),
                         AsyncMethod<&P::Write>("write"),
                         AsyncMethod<&P::Signal>("signal"),
                         InstanceMethod<&P::Cancel>("cancel"),
                         AsyncMethod<&P::Close>("close"),
                     });
}

}  // namespace vfm
