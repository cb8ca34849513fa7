#include <algorithm>

#include "objects.h"

namespace vfm {

namespace {

/* While a transfer uses the descriptor, a read between two of its own would lose bytes. */
void RefuseInTransfer(Napi::Env env, const DataFd& data_fd, const char* syscall) {
  if (data_fd.in_transfer) throw Napi::Error(env, ToError(env, Failure::Code("ERR_BUSY", syscall)));
}

}  // namespace

DataFdObject::DataFdObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

DataFdObject::~DataFdObject() {
  if (native()) native()->Close(nullptr);
}

Napi::Object DataFdObject::New(Napi::Env env, std::shared_ptr<DataFd> data_fd, Napi::Object device) {
  Napi::Object object = Wrap(env, EnvData::Of(env).classes.data_fd, std::move(data_fd));
  From(object)->device_ = Napi::Persistent(device);
  return object;
}

Napi::Value DataFdObject::Read(const Napi::CallbackInfo& info) {
  /* More than kMaxRead may be asked for; short reads are normal on a data fd. */
  const uint64_t asked = IntegerArg(info[0], "max", 1, (uint64_t{1} << 53) - 1);
  const size_t max = static_cast<size_t>(std::min<uint64_t>(asked, kMaxRead));
  RefuseInTransfer(info.Env(), *native(), "read");
  return Ask(info, *native(), [f = native(), max] { return f->Read(max); });
}

Napi::Value DataFdObject::Write(const Napi::CallbackInfo& info) {
  HeldBytes data = HeldBytesArg(info[0], "data", kMaxWrite);
  RefuseInTransfer(info.Env(), *native(), "write");
  return Ask(info, *native(),
             [f = native(), data = std::move(data)] { return f->Write(data.data, data.size); });
}

Napi::Value DataFdObject::PrecopyInfo(const Napi::CallbackInfo& info) {
  RefuseInTransfer(info.Env(), *native(), "ioctl VFIO_MIG_GET_PRECOPY_INFO");
  return Ask(info, *native(), [f = native()] { return f->PrecopyInfo(); });
}

void DataFdObject::Cancel(const Napi::CallbackInfo&) {
  native()->Cancel();
  /* It may run on the thread of the other end. */
  if (std::shared_ptr<TransferJob> transfer = native()->transfer.lock()) transfer->Cancel();
}

Napi::Value DataFdObject::Close(const Napi::CallbackInfo& info) {
  return AskClose(info, *native());
}

Napi::Function DataFdObject::Define(Napi::Env env) {
  using F = DataFdObject;
  return DefineClass(env, "NativeDataFd",
                     {
                         AsyncMethod<&F::Read>("read"),
                         AsyncMethod<&F::Write>("write"),
                         AsyncMethod<&F::PrecopyInfo>("precopyInfo"),
                         InstanceMethod<&F::Cancel>("cancel"),
                         AsyncMethod<&F::Close>("close"),
                     });
}

}  // namespace vfm
