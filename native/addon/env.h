/* What one environment (the main thread, or one worker_thread) has of this addon. */
#ifndef VFIO_MIGRATE_ADDON_ENV_H
#define VFIO_MIGRATE_ADDON_ENV_H

#include <napi.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "worker.h"

namespace vfm {

/* Brings finished requests from the workers to JavaScript's thread. The workers share it and may outlive the
 * environment: after Close() it swallows what they deliver and makes no call of N-API. */
class Channel final : public Delivery {
 public:
  Channel(Napi::Env env);

  void Deliver(std::unique_ptr<Request> request) noexcept override;
  bool Register(std::weak_ptr<Worker> worker) override;

  /* JavaScript's thread, these. */
  /* Counts the requests that JavaScript waits for: while there is one, the event loop stays alive. */
  void Begin();
  /* The environment ends: abandons every worker and waits a bounded time for the threads to end. */
  void Close();

 private:
  static void OnWake(napi_env env, napi_value, void* context, void*);
  void Drain(napi_env env);

  napi_env const env_;
  napi_threadsafe_function wake_ = nullptr;
  size_t awaited_ = 0;

  std::mutex mutex_;
  bool closed_ = false;
  bool woken_ = false;
  std::deque<std::unique_ptr<Request>> finished_;
  std::vector<std::weak_ptr<Worker>> workers_;
  size_t prune_at_ = 64;
};

/* Classes whose instances only the addon makes. */
struct Classes {
  Napi::FunctionReference kernel;
  Napi::FunctionReference device;
  Napi::FunctionReference data_fd;
  Napi::FunctionReference transfer;
  Napi::FunctionReference frame_output;
  Napi::FunctionReference peer;
  Napi::FunctionReference calls;
};

struct EnvData {
  explicit EnvData(Napi::Env env);
  static EnvData& Of(Napi::Env env) { return *env.GetInstanceData<EnvData>(); }

  std::shared_ptr<Channel> channel;
  Classes classes;
  /* (errno, code, syscall, path, side, bytes) => Error; set by lib/binding. */
  Napi::FunctionReference error_factory;
  /* linuxKernel() gives one object. */
  Napi::ObjectReference linux_kernel;
  /* What the constructor that runs now is to wrap. A constructor that finds none was called by a script. */
  void* constructing = nullptr;
};

/* The JavaScript object of class `constructor` around `native`. */
template <class T>
Napi::Object Wrap(Napi::Env env, const Napi::FunctionReference& constructor, T native) {
  EnvData& data = EnvData::Of(env);
  data.constructing = &native;
  struct Reset {
    EnvData& data;
    ~Reset() { data.constructing = nullptr; }
  } reset{data};
  return constructor.New({});
}

/* In the constructor: takes what Wrap() was given, or throws a TypeError. */
template <class T>
T TakeNative(Napi::Env env) {
  EnvData& data = EnvData::Of(env);
  if (!data.constructing) throw Napi::TypeError::New(env, "Illegal constructor");
  return std::move(*static_cast<T*>(std::exchange(data.constructing, nullptr)));
}

}  // namespace vfm
#endif
