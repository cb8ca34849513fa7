/* The JavaScript classes: each method checks its arguments and asks the worker behind it. */
#ifndef VFIO_MIGRATE_ADDON_OBJECTS_H
#define VFIO_MIGRATE_ADDON_OBJECTS_H

#include <napi.h>

#include <memory>

#include "calls.h"
#include "device.h"
#include "file_tree.h"
#include "peer.h"
#include "request.h"
#include "transfer_job.h"

namespace vfm {

class KernelObject final : public Wrapped<KernelObject, FileTree> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x6b65726e656c0001};
  static Napi::Function Define(Napi::Env env);
  static Napi::Object New(Napi::Env env, KernelRef kernel);
  /* mockKernel(library, scenario, stateDir): loads the library and adds `control` to the kernel object. */
  static Napi::Value NewMock(const Napi::CallbackInfo& info);

  explicit KernelObject(const Napi::CallbackInfo& info);
  ~KernelObject() override;

 private:
  Napi::Value ReadFile(const Napi::CallbackInfo& info);
  Napi::Value WriteFile(const Napi::CallbackInfo& info);
  Napi::Value Readdir(const Napi::CallbackInfo& info);
  Napi::Value Readlink(const Napi::CallbackInfo& info);
  Napi::Value Stat(const Napi::CallbackInfo& info);
  Napi::Value Access(const Napi::CallbackInfo& info);
  Napi::Value CreateDevice(const Napi::CallbackInfo& info);
  Napi::Value CreatePeer(const Napi::CallbackInfo& info);
  Napi::Value CreateCalls(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  static Napi::Value Control(const Napi::CallbackInfo& info);

  /* Mock kernels only. */
  vfio_mock_control_fn control_ = nullptr;
  vfio_mock_free_fn free_ = nullptr;
};

class DeviceObject final : public Wrapped<DeviceObject, Device> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x6465766963650001};
  static Napi::Function Define(Napi::Env env);

  explicit DeviceObject(const Napi::CallbackInfo& info);
  ~DeviceObject() override;

 private:
  static Napi::Value IsOpen(const Napi::CallbackInfo& info);
  Napi::Value OpenContainer(const Napi::CallbackInfo& info);
  Napi::Value ContainerApiVersion(const Napi::CallbackInfo& info);
  Napi::Value ContainerCheckExtension(const Napi::CallbackInfo& info);
  Napi::Value OpenGroup(const Napi::CallbackInfo& info);
  Napi::Value GroupStatus(const Napi::CallbackInfo& info);
  Napi::Value GroupSetContainer(const Napi::CallbackInfo& info);
  Napi::Value ContainerSetIommu(const Napi::CallbackInfo& info);
  Napi::Value GroupGetDeviceFd(const Napi::CallbackInfo& info);
  Napi::Value OpenCdev(const Napi::CallbackInfo& info);
  Napi::Value OpenIommufd(const Napi::CallbackInfo& info);
  Napi::Value BindIommufd(const Napi::CallbackInfo& info);
  Napi::Value AdoptFd(const Napi::CallbackInfo& info);
  Napi::Value TakeFd(const Napi::CallbackInfo& info);
  Napi::Value ReceiveFd(const Napi::CallbackInfo& info);
  Napi::Value SendFds(const Napi::CallbackInfo& info);
  Napi::Value Descriptors(const Napi::CallbackInfo& info);
  Napi::Value FeatureProbe(const Napi::CallbackInfo& info);
  Napi::Value FeatureGet(const Napi::CallbackInfo& info);
  Napi::Value FeatureSet(const Napi::CallbackInfo& info);
  Napi::Value MigrationFlags(const Napi::CallbackInfo& info);
  Napi::Value GetState(const Napi::CallbackInfo& info);
  Napi::Value SetState(const Napi::CallbackInfo& info);
  Napi::Value DataSize(const Napi::CallbackInfo& info);
  Napi::Value Reset(const Napi::CallbackInfo& info);
  Napi::Value LoggingStart(const Napi::CallbackInfo& info);
  Napi::Value LoggingStop(const Napi::CallbackInfo& info);
  Napi::Value LoggingReport(const Napi::CallbackInfo& info);
  Napi::Value Info(const Napi::CallbackInfo& info);
  Napi::Value RegionInfo(const Napi::CallbackInfo& info);
  Napi::Value IrqInfo(const Napi::CallbackInfo& info);
  Napi::Value SetIrqEvent(const Napi::CallbackInfo& info);
  Napi::Value Pread(const Napi::CallbackInfo& info);
  Napi::Value Pwrite(const Napi::CallbackInfo& info);
  Napi::Value RawIoctl(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
};

class PeerObject final : public Wrapped<PeerObject, Peer> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x7065657200000001};
  static Napi::Function Define(Napi::Env env);

  explicit PeerObject(const Napi::CallbackInfo& info);
  ~PeerObject() override;

 private:
  Napi::Value AdoptFd(const Napi::CallbackInfo& info);
  Napi::Value OpenProcess(const Napi::CallbackInfo& info);
  Napi::Value OpenEvent(const Napi::CallbackInfo& info);
  Napi::Value Connect(const Napi::CallbackInfo& info);
  Napi::Value WaitReadable(const Napi::CallbackInfo& info);
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value Signal(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
};

class CallsObject final : public Wrapped<CallsObject, Calls> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x63616c6c73000001};
  static Napi::Function Define(Napi::Env env);

  explicit CallsObject(const Napi::CallbackInfo& info);
  ~CallsObject() override;

 private:
  Napi::Value Call(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
};

class DataFdObject final : public Wrapped<DataFdObject, DataFd> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x6461746166640001};
  static Napi::Function Define(Napi::Env env);
  /* `device` is kept from being collected, because that would close the session. */
  static Napi::Object New(Napi::Env env, std::shared_ptr<DataFd> data_fd, Napi::Object device);

  explicit DataFdObject(const Napi::CallbackInfo& info);
  ~DataFdObject() override;

 private:
  Napi::Value Read(const Napi::CallbackInfo& info);
  Napi::Value Write(const Napi::CallbackInfo& info);
  Napi::Value PrecopyInfo(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);

  Napi::ObjectReference device_;
};

class TransferObject final : public Wrapped<TransferObject, TransferJob> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x7472616e73660001};
  static Napi::Function Define(Napi::Env env);
  /* startTransfer(spec): a TypeError for a spec that makes no sense; everything else is told by `result`. */
  static Napi::Value Start(const Napi::CallbackInfo& info);

  explicit TransferObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

 private:
  Napi::Value Asked(const Napi::CallbackInfo& info);
  Napi::Value Progress(const Napi::CallbackInfo& info);
  void Cancel(const Napi::CallbackInfo& info);
};

/* What several transfers write their frames to. */
class FrameOutputObject final : public Wrapped<FrameOutputObject, FrameOutput> {
 public:
  static constexpr napi_type_tag kTag = {0x7666696f2d6d6967, 0x6672616d65730001};
  static Napi::Function Define(Napi::Env env);
  static Napi::Value Create(const Napi::CallbackInfo& info);

  explicit FrameOutputObject(const Napi::CallbackInfo& info) : Wrapped(info) {}

 private:
  Napi::Value Crc(const Napi::CallbackInfo& info);
  Napi::Value Bytes(const Napi::CallbackInfo& info);
};

/* Functions on bitmaps of dirty pages. */
struct BitmapCalls {
  static Napi::Value Count(const Napi::CallbackInfo& info);
  static Napi::Value Runs(const Napi::CallbackInfo& info);
  static Napi::Value Or(const Napi::CallbackInfo& info);
};

}  // namespace vfm
#endif
