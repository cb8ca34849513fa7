#include <algorithm>
#include <iterator>
#include <limits>

#include "objects.h"

namespace vfm {

namespace {

/* A transfer as its request. */
class TransferRequest final : public Promised<TransferReport> {
 public:
  TransferRequest(Napi::Env env, Napi::Object owner, std::shared_ptr<TransferJob> job,
                  const std::shared_ptr<DataFd>& source, std::vector<std::shared_ptr<DataFd>> users);
  /* The request that follows the last byte is a change of state: only the end of the environment cuts it
   * short. */
  bool Interrupt() noexcept override {
    job_->Cancel();
    return false;
  }

 private:
  void BeforeSettle() override {
    job_->Drop();
    for (auto& user : users_) user->in_transfer = false;
  }

  std::shared_ptr<TransferJob> job_;
  std::vector<std::shared_ptr<DataFd>> users_;
};

/* A spec as it was read, before anything has been asked of a descriptor. */
struct Ends {
  TransferSpec spec;
  std::optional<LeaveRequest> leave;
  std::shared_ptr<DataFd> source;
  std::shared_ptr<DataFd> sink;
};

Napi::Object ObjectMember(Napi::Object object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject()) {
    ThrowType(object.Env(), "ERR_INVALID_ARG_TYPE", std::string("spec.") + name + " must be an object");
  }
  return value.As<Napi::Object>();
}

constexpr const char* kSourceKinds[] = {"data-fd", "frames", "raw"};
constexpr const char* kSinkKinds[] = {"data-fd", "frames", "raw", "none"};

/* The position of `object.kind` in `kinds`, which are in the order of the enumeration. */
template <class Kind, size_t N>
Kind KindMember(Napi::Object object, const char* end, const char* const (&kinds)[N]) {
  const std::string kind = StringArg(object.Get("kind"), "kind", 64);
  const auto at = std::find(std::begin(kinds), std::end(kinds), kind);
  if (at == std::end(kinds)) {
    ThrowType(object.Env(), "ERR_INVALID_ARG_VALUE", std::string("spec.") + end + ".kind cannot be " + kind);
  }
  return static_cast<Kind>(at - std::begin(kinds));
}

std::shared_ptr<DataFd> DataFdMember(Napi::Object end) {
  DataFdObject* object = DataFdObject::From(end.Get("fd"));
  if (!object) ThrowType(end.Env(), "ERR_INVALID_ARG_TYPE", "The fd of a data-fd end must be a NativeDataFd");
  return object->native();
}

int FdMember(Napi::Object end) {
  return static_cast<int>(IntegerArg(end.Get("fd"), "fd", 0, std::numeric_limits<int>::max()));
}

/* `read` of the member, or `fallback` when it is not there. */
template <class T, class Read>
T OptionalMember(Napi::Object spec, const char* name, T fallback, Read read) {
  const Napi::Value value = spec.Get(name);
  return value.IsUndefined() ? std::move(fallback) : T(read(value));
}

/* Reads every member before it looks at any object of ours: a getter may run any script. */
Ends ReadSpec(Napi::Object object) {
  Ends ends;
  TransferSpec& spec = ends.spec;
  const Napi::Object source = ObjectMember(object, "source");
  const Napi::Object sink = ObjectMember(object, "sink");
  spec.source.kind = KindMember<SourceKind>(source, "source", kSourceKinds);
  spec.sink.kind = KindMember<SinkKind>(sink, "sink", kSinkKinds);
  if (spec.source.kind == SourceKind::kDataFd) {
    ends.source = DataFdMember(source);
  } else {
    spec.source.fd = FdMember(source);
  }
  if (spec.source.kind == SourceKind::kFrames) {
    spec.source.header = OptionalMember(source, "header", Bytes(), [](Napi::Value value) {
      return BytesArg(value, "header", kDataPrefixSize);
    });
    spec.source.hop = BoolArg(source.Get("hop"), "hop");
  }
  if (spec.sink.kind == SinkKind::kDataFd) {
    ends.sink = DataFdMember(sink);
  } else if (spec.sink.kind != SinkKind::kNone) {
    spec.sink.fd = FdMember(sink);
    const Napi::Value output = sink.Get("output");
    if (!output.IsUndefined()) {
      FrameOutputObject* object_of = FrameOutputObject::From(output);
      if (!object_of)
        ThrowType(object.Env(), "ERR_INVALID_ARG_TYPE", "spec.sink.output must be a NativeFrameOutput");
      spec.sink.output = object_of->native();
    }
  }
  spec.stream = Uint32Arg(object.Get("stream"), "stream");
  const Napi::Value phase = object.Get("phase");
  if (!phase.IsNull()) spec.phase = Uint32Arg(phase, "phase");
  spec.offset = BigUintArg(object.Get("offset"), "offset", std::numeric_limits<uint64_t>::max());
  spec.crc = Uint32Arg(object.Get("crc"), "crc");
  spec.frame_size = OptionalMember(object, "frameSize", spec.frame_size, [](Napi::Value value) {
    return static_cast<uint32_t>(IntegerArg(value, "frameSize", 1, kMaxFrameBytes));
  });
  spec.lesser_frame_size = OptionalMember(object, "lesserFrameSize", 0u, [](Napi::Value value) {
    return static_cast<uint32_t>(IntegerArg(value, "lesserFrameSize", 1, kMaxFrameBytes));
  });
  spec.segment = OptionalMember(object, "segment", spec.segment, [](Napi::Value value) {
    return static_cast<uint32_t>(IntegerArg(value, "segment", 1, std::numeric_limits<uint32_t>::max()));
  });
  spec.limit = OptionalMember(object, "limit", spec.limit, [](Napi::Value value) {
    return BigUintArg(value, "limit", std::numeric_limits<uint64_t>::max());
  });
  const Napi::Value leave = object.Get("leave");
  if (!leave.IsUndefined()) {
    const Napi::Object request = ObjectMember(object, "leave");
    ends.leave = LeaveRequest{Uint32Arg(request.Get("from"), "from"), Uint32Arg(request.Get("to"), "to")};
    if (!ends.source) ThrowType(object.Env(), "ERR_INVALID_ARG_VALUE", "spec.leave is for a data-fd source");
  }
  return ends;
}

/* Takes the data fds into use. False, with `why`, when one is closed or in use already. */
bool LeaseEnds(Ends& ends, Leases& leases, Failure& why) {
  const auto lease = [&](const std::shared_ptr<DataFd>& data_fd, const char* side, auto& end) {
    if (!data_fd) return true;
    leases.push_back(std::make_unique<DataFd::Lease>(data_fd));
    const Fd& fd = leases.back()->fd();
    const bool closed = data_fd->closing() || !fd.valid();
    if (closed || data_fd->in_transfer) {
      why = Failure::Code(closed ? "ERR_CLOSED" : "ERR_BUSY");
      why.side = side;
      why.bytes = 0;
      return false;
    }
    end.kernel = fd.kernel().get();
    end.fd = fd.get();
    return true;
  };
  return lease(ends.source, "source", ends.spec.source) && lease(ends.sink, "sink", ends.spec.sink);
}

Napi::Value LeftToJs(Napi::Env env, TransferReport::Left& left) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("startNs", Napi::BigInt::New(env, left.start_ns));
  object.Set("endNs", Napi::BigInt::New(env, left.end_ns));
  object.Set("error", left.failure ? ToError(env, *left.failure) : env.Null());
  return object;
}

Napi::Value ReportToJs(Napi::Env env, TransferReport& report) {
  TransferResult& result = report.moved;
  Napi::Object object = Napi::Object::New(env);
  object.Set("end", Napi::String::New(env, TransferEndName(result.end)));
  object.Set("header", result.header.empty() ? env.Null() : ToJs(env, result.header));
  object.Set("bytes", Napi::BigInt::New(env, result.bytes));
  object.Set("frames", Napi::BigInt::New(env, result.frames));
  object.Set("hoppedBytes", Napi::BigInt::New(env, result.hopped_bytes));
  object.Set("hoppedFrames", Napi::BigInt::New(env, result.hopped_frames));
  object.Set("offset", Napi::BigInt::New(env, result.offset));
  object.Set("crc", Napi::Number::New(env, result.crc));
  object.Set("startNs", Napi::BigInt::New(env, result.start_ns));
  object.Set("firstByteNs", Napi::BigInt::New(env, result.first_byte_ns));
  object.Set("endNs", Napi::BigInt::New(env, result.end_ns));
  object.Set("state", report.state ? Napi::Value(Napi::Number::New(env, *report.state)) : env.Null());
  object.Set("left", report.left ? LeftToJs(env, *report.left) : env.Null());
  return object;
}

TransferRequest::TransferRequest(Napi::Env env, Napi::Object owner, std::shared_ptr<TransferJob> job,
                                 const std::shared_ptr<DataFd>& source,
                                 std::vector<std::shared_ptr<DataFd>> users)
    : Promised(
          env, owner, [job, source] { return job->Run(source.get()); }, ReportToJs),
      job_(std::move(job)),
      users_(std::move(users)) {
  for (auto& user : users_) {
    user->in_transfer = true;
    user->transfer = job_;
  }
}

}  // namespace

Napi::Value TransferObject::Start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) ThrowType(env, "ERR_INVALID_ARG_TYPE", "The \"spec\" argument must be an object");
  Ends ends = ReadSpec(info[0].As<Napi::Object>());
  if (ends.source && ends.source == ends.sink) {
    ThrowType(env, "ERR_INVALID_ARG_VALUE", "Source and sink are the same data fd");
  }

  Failure why;
  Leases leases;
  std::unique_ptr<Transfer> transfer;
  if (LeaseEnds(ends, leases, why)) {
    const std::string wrong = Transfer::Check(ends.spec);
    if (!wrong.empty()) ThrowType(env, "ERR_INVALID_ARG_VALUE", wrong);
    TransferError error;
    transfer = Transfer::Create(std::move(ends.spec), &error);
    if (!transfer) why = TransferFailed(error);
  }
  const bool started = transfer != nullptr;
  auto job = std::make_shared<TransferJob>(std::move(transfer), std::move(leases), ends.leave);
  Napi::Object object = Wrap(env, EnvData::Of(env).classes.transfer, job);
  if (!started) {
    object.DefineProperty(
        Napi::PropertyDescriptor::Value("result", Rejected(env, ToError(env, why)), napi_enumerable));
    job->Drop();
    return object;
  }

  std::vector<std::shared_ptr<DataFd>> users;
  for (auto& user : {ends.source, ends.sink}) {
    if (user) users.push_back(user);
  }
  auto request = std::make_unique<TransferRequest>(env, object, std::move(job), ends.source, users);
  object.DefineProperty(
      Napi::PropertyDescriptor::Value("result", Napi::Value(env, request->promise()), napi_enumerable));
  if (users.empty()) {
    auto thread = Worker::Make<TransferThread>(EnvData::Of(env).channel);
    thread->Post(std::move(request));
    thread->Close(nullptr);
  } else {
    users.front()->Post(std::move(request));
  }
  return object;
}

Napi::Value FrameOutputObject::Create(const Napi::CallbackInfo& info) {
  const uint32_t crc = Uint32Arg(info[0], "crc");
  return Wrap(info.Env(), EnvData::Of(info.Env()).classes.frame_output, std::make_shared<FrameOutput>(crc));
}

/* Methods, not accessors: V8 checks whom they are called on. */
Napi::Value FrameOutputObject::Crc(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), native()->crc());
}

Napi::Value FrameOutputObject::Bytes(const Napi::CallbackInfo& info) {
  return Napi::BigInt::New(info.Env(), native()->bytes());
}

Napi::Function FrameOutputObject::Define(Napi::Env env) {
  using T = FrameOutputObject;
  return DefineClass(env, "NativeFrameOutput",
                     {
                         InstanceMethod<&T::Crc>("crc"),
                         InstanceMethod<&T::Bytes>("bytes"),
                     });
}

Napi::Value TransferObject::Progress(const Napi::CallbackInfo& info) {
  return Napi::BigInt::New(info.Env(), native()->progress());
}

Napi::Value TransferObject::Asked(const Napi::CallbackInfo& info) {
  return Napi::BigInt::New(info.Env(), native()->asked_ns());
}

void TransferObject::Cancel(const Napi::CallbackInfo&) {
  native()->Cancel();
}

Napi::Function TransferObject::Define(Napi::Env env) {
  using T = TransferObject;
  return DefineClass(env, "NativeTransfer",
                     {
                         InstanceMethod<&T::Progress>("progress"),
                         InstanceMethod<&T::Asked>("asked"),
                         InstanceMethod<&T::Cancel>("cancel"),
                     });
}

}  // namespace vfm
