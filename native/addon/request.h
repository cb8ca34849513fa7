/* From a method of a JavaScript object to a promise: the arguments become a closure that runs on a worker's
 * thread, its outcome becomes the promise's. */
#ifndef VFIO_MIGRATE_ADDON_REQUEST_H
#define VFIO_MIGRATE_ADDON_REQUEST_H

#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "convert.h"
#include "env.h"
#include "worker.h"

namespace vfm {

/* A request that ends in a promise. Until it is settled it keeps `owner`, the object it was made on, from
 * being collected, and the event loop alive. When the environment ends first, the handles are left to Node,
 * which frees them: they may not be touched on another thread. */
template <class T>
class Promised : public Request {
 public:
  using Work = std::function<Outcome<T>()>;
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;

  Promised(Napi::Env env, Napi::Object owner, Work work, Convert convert)
      : work_(std::move(work)), convert_(std::move(convert)) {
    napi_value promise = nullptr;
    if (napi_create_promise(env, &deferred_, &promise) != napi_ok ||
        napi_create_reference(env, owner, 1, &owner_) != napi_ok) {
      throw Napi::Error::New(env);
    }
    promise_ = promise;
    EnvData::Of(env).channel->Begin();
  }

  /* Valid in the scope that made the request. */
  napi_value promise() const { return promise_; }

  void Run() noexcept final {
    try {
      outcome_.emplace(work_());
    } catch (const std::exception&) {
      /* The only thing a request throws is std::bad_alloc. */
      outcome_.emplace(Failure::Errno(ENOMEM, "malloc"));
    }
  }

  void Refuse(Failure why) noexcept final { outcome_.emplace(std::move(why)); }

  void Settle(napi_env__* raw) noexcept final {
    const Napi::Env env(raw);
    napi_value value = nullptr;
    bool resolve = false;
    try {
      BeforeSettle();
      value = outcome_->ok() ? convert_(env, outcome_->value()) : ToError(env, outcome_->failure());
      resolve = outcome_->ok();
    } catch (const Napi::Error& error) {
      value = error.Value();
    }
    /* Fails only while the environment is being terminated, when nobody waits any more. */
    resolve ? napi_resolve_deferred(env, deferred_, value) : napi_reject_deferred(env, deferred_, value);
    napi_delete_reference(env, owner_);
  }

 protected:
  /* JavaScript's thread, before anybody hears of the outcome. */
  virtual void BeforeSettle() {}

 private:
  Work work_;
  Convert convert_;
  std::optional<Outcome<T>> outcome_;
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;
  napi_ref owner_ = nullptr;
};

template <class T>
struct OutcomeValue;
template <class T>
struct OutcomeValue<Outcome<T>> {
  using type = T;
};

/* Queues `work` (returning an Outcome) on `worker` for the method that `info` is the call of. */
template <class Work, class T = typename OutcomeValue<std::invoke_result_t<Work>>::type>
Napi::Value Ask(
    const Napi::CallbackInfo& info, Worker& worker, Work work,
    typename Promised<T>::Convert convert = [](Napi::Env env, T& value) { return ToJs(env, value); }) {
  auto request = std::make_unique<Promised<T>>(info.Env(), info.This().As<Napi::Object>(), std::move(work),
                                               std::move(convert));
  const Napi::Value promise(info.Env(), request->promise());
  worker.Post(std::move(request));
  return promise;
}

/* The promise of close(). */
inline Napi::Value AskClose(const Napi::CallbackInfo& info, Worker& worker) {
  auto request = std::make_unique<Promised<Nothing>>(
      info.Env(), info.This().As<Napi::Object>(), [] { return Outcome<Nothing>(Nothing{}); },
      [](Napi::Env env, Nothing& value) { return ToJs(env, value); });
  const Napi::Value promise(info.Env(), request->promise());
  worker.Close(std::move(request));
  return promise;
}

/* A promise that is rejected already. */
inline Napi::Value Rejected(Napi::Env env, Napi::Value reason) {
  Napi::Promise::Deferred deferred(env);
  deferred.Reject(reason);
  return deferred.Promise();
}

/* A base for classes whose instances the addon makes. `Native` is what they wrap; T::kTag tells the class, so
 * that no other object, whoever made it, is taken for one. */
template <class T, class Native>
class Wrapped : public Napi::ObjectWrap<T> {
 public:
  explicit Wrapped(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<T>(info), native_(TakeNative<std::shared_ptr<Native>>(info.Env())) {
    this->Value().TypeTag(&T::kTag);
  }

  /* Null when `value` is not a T. */
  static T* From(Napi::Value value) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&T::kTag)) return nullptr;
    return T::Unwrap(value.As<Napi::Object>());
  }

  const std::shared_ptr<Native>& native() const { return native_; }

  /* The descriptor of a method that returns a promise. */
  template <Napi::Value (T::*Method)(const Napi::CallbackInfo&)>
  static Napi::ClassPropertyDescriptor<T> AsyncMethod(const char* name) {
    return T::InstanceMethod(name, static_cast<Callback>(&T::template Async<Method>));
  }

 private:
  using Callback = Napi::Value (T::*)(const Napi::CallbackInfo&);

  /* It rejects, also when an argument is wrong. */
  template <Callback Method>
  Napi::Value Async(const Napi::CallbackInfo& info) {
    try {
      return (static_cast<T*>(this)->*Method)(info);
    } catch (const Napi::Error& error) {
      return Rejected(info.Env(), error.Value());
    } catch (const std::bad_alloc&) {
      return Rejected(info.Env(), Napi::Error::New(info.Env(), "Out of memory").Value());
    }
  }

  std::shared_ptr<Native> native_;
};

}  // namespace vfm
#endif
