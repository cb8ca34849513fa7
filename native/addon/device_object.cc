#include <cstring>
#include <limits>

#include "objects.h"

namespace vfm {

namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxName = 4096;
constexpr size_t kTokenSize = 16;
constexpr size_t kMaxMessage = size_t{64} << 10;

int FdArg(Napi::Value value, const char* name) {
  return static_cast<int>(IntegerArg(value, name, 0, std::numeric_limits<int>::max()));
}

std::vector<int> FdsArg(Napi::Value value) {
  std::vector<int> fds;
  if (value.IsUndefined()) return fds;
  if (!value.IsArray())
    ThrowType(value.Env(), "ERR_INVALID_ARG_TYPE", "The \"more\" argument must be an array");
  const auto numbers = value.As<Napi::Array>();
  for (uint32_t i = 0; i < numbers.Length(); i++) fds.push_back(FdArg(numbers.Get(i), "more"));
  return fds;
}

Napi::Value ToReceived(Napi::Env env, Device::Received& value) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("data", ToJs(env, value.data));
  object.Set("fds", Napi::Number::New(env, value.fds));
  return object;
}

Napi::Value ToNumbers(Napi::Env env, Device::Numbers& value) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* name, int fd) {
    object.Set(name, fd < 0 ? env.Null() : Napi::Value(Napi::Number::New(env, fd)));
  };
  set("device", value.device);
  set("iommufd", value.iommufd);
  set("container", value.container);
  set("group", value.group);
  return object;
}

/* Pairs of address and length. */
std::vector<uapi::FeatureDmaLoggingRange> RangesArg(Napi::Value value, const char* name) {
  const WordsView view = WordsViewArg(value, name);
  if (view.size % 2 != 0) ThrowType(value.Env(), "ERR_INVALID_ARG_VALUE", "The ranges come in pairs");
  std::vector<uapi::FeatureDmaLoggingRange> ranges(view.size / 2);
  for (size_t i = 0; i < ranges.size(); i++) ranges[i] = {view.data[2 * i], view.data[2 * i + 1]};
  return ranges;
}

std::shared_ptr<const Fd> PeerArg(Napi::Value value) {
  PeerObject* peer = PeerObject::From(value);
  if (!peer) ThrowType(value.Env(), "ERR_INVALID_ARG_TYPE", "The \"peer\" argument must be a NativePeer");
  return peer->native()->fd();
}

}  // namespace

DeviceObject::DeviceObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

/* A device that is collected is closed, on its own thread: closing a vfio-pci device resets it, which takes
 * long. */
DeviceObject::~DeviceObject() {
  if (native()) native()->Close(nullptr);
}

/* An accessor is called on whatever object a script likes; methods are checked by V8. */
Napi::Value DeviceObject::IsOpen(const Napi::CallbackInfo& info) {
  DeviceObject* self = From(info.This());
  if (!self) throw Napi::TypeError::New(info.Env(), "Illegal invocation");
  return Napi::Boolean::New(info.Env(), self->native()->is_open());
}

Napi::Value DeviceObject::OpenContainer(const Napi::CallbackInfo& info) {
  return Ask(info, *native(),
             [d = native(), path = PathArg(info[0], "path")] { return d->OpenContainer(path); });
}

Napi::Value DeviceObject::ContainerApiVersion(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->ContainerApiVersion(); });
}

Napi::Value DeviceObject::ContainerCheckExtension(const Napi::CallbackInfo& info) {
  return Ask(info, *native(),
             [d = native(), e = Uint32Arg(info[0], "extension")] { return d->ContainerCheckExtension(e); });
}

Napi::Value DeviceObject::OpenGroup(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), path = PathArg(info[0], "path")] { return d->OpenGroup(path); });
}

Napi::Value DeviceObject::GroupStatus(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->GroupStatus(); });
}

Napi::Value DeviceObject::GroupSetContainer(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->GroupSetContainer(); });
}

Napi::Value DeviceObject::ContainerSetIommu(const Napi::CallbackInfo& info) {
  return Ask(info, *native(),
             [d = native(), t = Uint32Arg(info[0], "type")] { return d->ContainerSetIommu(t); });
}

Napi::Value DeviceObject::GroupGetDeviceFd(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), name = StringArg(info[0], "name", kMaxName)] {
    return d->GroupGetDeviceFd(name);
  });
}

Napi::Value DeviceObject::OpenCdev(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), path = PathArg(info[0], "path")] { return d->OpenCdev(path); });
}

Napi::Value DeviceObject::OpenIommufd(const Napi::CallbackInfo& info) {
  return Ask(info, *native(),
             [d = native(), path = PathArg(info[0], "path")] { return d->OpenIommufd(path); });
}

Napi::Value DeviceObject::BindIommufd(const Napi::CallbackInfo& info) {
  Bytes token;
  if (!info[0].IsNull()) {
    token = BytesArg(info[0], "token", kTokenSize);
    if (token.size() != kTokenSize) {
      ThrowType(info.Env(), "ERR_INVALID_ARG_VALUE", "The \"token\" argument must be 16 bytes or null");
    }
  }
  return Ask(info, *native(), [d = native(), token = std::move(token)] { return d->BindIommufd(token); });
}

Napi::Value DeviceObject::AdoptFd(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), fd = FdArg(info[0], "fd")] { return d->AdoptFd(fd); });
}

/* The peer's descriptor is shared with the request: closing the peer waits for nobody. */
Napi::Value DeviceObject::TakeFd(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), pidfd = PeerArg(info[0]), fd = FdArg(info[1], "fd")] {
    return d->TakeFd(*pidfd, fd);
  });
}

Napi::Value DeviceObject::ReceiveFd(const Napi::CallbackInfo& info) {
  const auto max = static_cast<size_t>(IntegerArg(info[1], "max", 1, kMaxMessage));
  return Ask(
      info, *native(), [d = native(), socket = PeerArg(info[0]), max] { return d->ReceiveFd(*socket, max); },
      ToReceived);
}

Napi::Value DeviceObject::SendFds(const Napi::CallbackInfo& info) {
  Bytes data = BytesArg(info[1], "data", kMaxMessage);
  if (data.empty()) ThrowType(info.Env(), "ERR_INVALID_ARG_VALUE", "The \"data\" argument must not be empty");
  std::vector<int> more = FdsArg(info[2]);
  return Ask(info, *native(),
             [d = native(), socket = PeerArg(info[0]), data = std::move(data), more = std::move(more)] {
               return d->SendFds(*socket, data, more);
             });
}

Napi::Value DeviceObject::Descriptors(const Napi::CallbackInfo& info) {
  return Ask(
      info, *native(), [d = native()] { return d->Descriptors(); }, ToNumbers);
}

Napi::Value DeviceObject::FeatureProbe(const Napi::CallbackInfo& info) {
  const auto index = static_cast<uint32_t>(IntegerArg(info[0], "index", 0, uapi::kFeatureMask));
  const auto ops = static_cast<uint32_t>(IntegerArg(info[1], "ops", 0, kOpGet | kOpSet));
  return Ask(info, *native(), [d = native(), index, ops] { return d->FeatureProbe(index, ops); });
}

Napi::Value DeviceObject::FeatureGet(const Napi::CallbackInfo& info) {
  const auto index = static_cast<uint32_t>(IntegerArg(info[0], "index", 0, uapi::kFeatureMask));
  const auto size = static_cast<size_t>(IntegerArg(info[1], "size", 0, kMaxStruct));
  return Ask(info, *native(), [d = native(), index, size] { return d->Feature(index, kOpGet, Bytes(size)); });
}

Napi::Value DeviceObject::FeatureSet(const Napi::CallbackInfo& info) {
  const auto index = static_cast<uint32_t>(IntegerArg(info[0], "index", 0, uapi::kFeatureMask));
  return Ask(info, *native(), [d = native(), index, payload = BytesArg(info[1], "payload", kMaxStruct)] {
    return d->Feature(index, kOpSet, payload);
  });
}

Napi::Value DeviceObject::MigrationFlags(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->MigrationFlags(); });
}

Napi::Value DeviceObject::GetState(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->GetState(); });
}

Napi::Value DeviceObject::SetState(const Napi::CallbackInfo& info) {
  /* `this` is kept alive by the request, so the object is there when the outcome is converted. */
  DeviceObject* self = this;
  return Ask(
      info, *native(), [d = native(), state = Uint32Arg(info[0], "state")] { return d->SetState(state); },
      [self](Napi::Env env, std::shared_ptr<DataFd>& data_fd) -> Napi::Value {
        Napi::Object answer = Napi::Object::New(env);
        answer.Set("dataFd", data_fd ? DataFdObject::New(env, data_fd, self->Value()) : env.Null());
        return answer;
      });
}

Napi::Value DeviceObject::DataSize(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->DataSize(); });
}

Napi::Value DeviceObject::Reset(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->Reset(); });
}

Napi::Value DeviceObject::LoggingStart(const Napi::CallbackInfo& info) {
  const uint64_t page_size = BigUintArg(info[0], "pageSize", std::numeric_limits<uint64_t>::max());
  return Ask(info, *native(), [d = native(), page_size, ranges = RangesArg(info[1], "ranges")] {
    return d->LoggingStart(page_size, ranges);
  });
}

Napi::Value DeviceObject::LoggingStop(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->LoggingStop(); });
}

Napi::Value DeviceObject::LoggingReport(const Napi::CallbackInfo& info) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  const uint64_t iova = BigUintArg(info[0], "iova", kMax);
  const uint64_t length = BigUintArg(info[1], "length", kMax);
  const uint64_t page_size = BigUintArg(info[2], "pageSize", kMax);
  if (page_size == 0 || length / page_size >= uint64_t{kMaxBitmap} * 8) {
    Napi::RangeError error = Napi::RangeError::New(info.Env(), "The bitmap would be larger than 256 MiB");
    error.Set("code", Napi::String::New(info.Env(), "ERR_OUT_OF_RANGE"));
    throw error;
  }
  return Ask(info, *native(),
             [d = native(), iova, length, page_size] { return d->LoggingReport(iova, length, page_size); });
}

Napi::Value DeviceObject::Info(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native()] { return d->Info(); });
}

Napi::Value DeviceObject::RegionInfo(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), i = Uint32Arg(info[0], "index")] { return d->RegionInfo(i); });
}

Napi::Value DeviceObject::IrqInfo(const Napi::CallbackInfo& info) {
  return Ask(info, *native(), [d = native(), i = Uint32Arg(info[0], "index")] { return d->IrqInfo(i); });
}

Napi::Value DeviceObject::SetIrqEvent(const Napi::CallbackInfo& info) {
  const uint32_t index = Uint32Arg(info[0], "index");
  auto event = info[1].IsNull() ? std::make_shared<const Fd>() : PeerArg(info[1]);
  return Ask(info, *native(), [d = native(), index, event] { return d->SetIrqEvent(index, *event); });
}

Napi::Value DeviceObject::Pread(const Napi::CallbackInfo& info) {
  const uint64_t offset = BigUintArg(info[0], "offset", kMaxOffset);
  const auto length = static_cast<size_t>(IntegerArg(info[1], "length", 0, kMaxRegionRead));
  return Ask(info, *native(), [d = native(), offset, length] { return d->Pread(offset, length); });
}

Napi::Value DeviceObject::Pwrite(const Napi::CallbackInfo& info) {
  const uint64_t offset = BigUintArg(info[0], "offset", kMaxOffset);
  return Ask(info, *native(), [d = native(), offset, data = BytesArg(info[1], "data", kMaxWrite)] {
    return d->Pwrite(offset, data);
  });
}

Napi::Value DeviceObject::RawIoctl(const Napi::CallbackInfo& info) {
  const uint32_t request = Uint32Arg(info[0], "request");
  if (info[1].IsBigInt()) {
    const uint64_t value = BigUintArg(info[1], "arg", std::numeric_limits<uintptr_t>::max());
    return Ask(info, *native(), [d = native(), request, value] {
      return d->RawIoctl(request, static_cast<uintptr_t>(value));
    });
  }
  /* The kernel gets memory of ours, and the script's array is filled when it is done: by then the script may
   * have taken the array's own memory away. The bytes behind the end are there for a kernel that writes more
   * than the struct says. */
  auto memory = std::make_shared<Bytes>(BytesArg(info[1], "arg", kMaxStruct));
  const size_t size = memory->size();
  memory->resize(size + 4096);
  auto array = std::make_shared<Napi::ObjectReference>(Napi::Persistent(info[1].As<Napi::Object>()));
  array->SuppressDestruct();
  return Ask(
      info, *native(),
      [d = native(), request, memory]() {
        return d->RawIoctl(request, reinterpret_cast<uintptr_t>(memory->data()));
      },
      [array, memory, size](Napi::Env env, int& result) -> Napi::Value {
        const Napi::Value value = array->Value();
        array->Reset();
        const BytesView view = BytesViewArg(value, "arg", std::numeric_limits<size_t>::max());
        if (size > 0) memcpy(view.data, memory->data(), std::min(size, view.size));
        return ToJs(env, result);
      });
}

Napi::Value DeviceObject::Close(const Napi::CallbackInfo& info) {
  return AskClose(info, *native());
}

Napi::Function DeviceObject::Define(Napi::Env env) {
  using D = DeviceObject;
  Napi::Function constructor =
      DefineClass(env, "NativeDevice",
                  {
                      AsyncMethod<&D::OpenContainer>("openContainer"),
                      AsyncMethod<&D::ContainerApiVersion>("containerApiVersion"),
                      AsyncMethod<&D::ContainerCheckExtension>("containerCheckExtension"),
                      AsyncMethod<&D::OpenGroup>("openGroup"),
                      AsyncMethod<&D::GroupStatus>("groupStatus"),
                      AsyncMethod<&D::GroupSetContainer>("groupSetContainer"),
                      AsyncMethod<&D::ContainerSetIommu>("containerSetIommu"),
                      AsyncMethod<&D::GroupGetDeviceFd>("groupGetDeviceFd"),
                      AsyncMethod<&D::OpenCdev>("openCdev"),
                      AsyncMethod<&D::OpenIommufd>("openIommufd"),
                      AsyncMethod<&D::BindIommufd>("bindIommufd"),
                      AsyncMethod<&D::AdoptFd>("adoptFd"),
                      AsyncMethod<&D::TakeFd>("takeFd"),
                      AsyncMethod<&D::ReceiveFd>("receiveFd"),
                      AsyncMethod<&D::SendFds>("sendFds"),
                      AsyncMethod<&D::Descriptors>("descriptors"),
                      AsyncMethod<&D::FeatureProbe>("featureProbe"),
                      AsyncMethod<&D::FeatureGet>("featureGet"),
                      AsyncMethod<&D::FeatureSet>("featureSet"),
                      AsyncMethod<&D::MigrationFlags>("migrationFlags"),
                      AsyncMethod<&D::GetState>("getState"),
                      AsyncMethod<&D::SetState>("setState"),
                      AsyncMethod<&D::DataSize>("dataSize"),
                      AsyncMethod<&D::Reset>("reset"),
                      AsyncMethod<&D::LoggingStart>("loggingStart"),
                      AsyncMethod<&D::LoggingStop>("loggingStop"),
                      AsyncMethod<&D::LoggingReport>("loggingReport"),
                      AsyncMethod<&D::Info>("info"),
                      AsyncMethod<&D::RegionInfo>("regionInfo"),
                      AsyncMethod<&D::IrqInfo>("irqInfo"),
                      AsyncMethod<&D::SetIrqEvent>("setIrqEvent"),
                      AsyncMethod<&D::Pread>("pread"),
                      AsyncMethod<&D::Pwrite>("pwrite"),
                      AsyncMethod<&D::RawIoctl>("rawIoctl"),
                      AsyncMethod<&D::Close>("close"),
                  });
  constructor.Get("prototype")
      .As<Napi::Object>()
      .DefineProperty(Napi::PropertyDescriptor::Accessor<IsOpen>("isOpen", napi_enumerable));
  return constructor;
}

}  // namespace vfm
