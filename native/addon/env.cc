#include "env.h"

#include <chrono>

namespace vfm {

namespace {

/* How long the end of an environment waits for its threads. One that takes longer sits in an ioctl that
 * cannot be interrupted; it is left behind (see worker.h). */
constexpr std::chrono::milliseconds kEndWait{500};

}  // namespace

Channel::Channel(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "vfio-migrate");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, OnWake,
                                      &wake_) != napi_ok) {
    throw Napi::Error::New(env);
  }
  napi_unref_threadsafe_function(env, wake_);
}

void Channel::Deliver(std::unique_ptr<Request> request) noexcept {
  const std::lock_guard lock(mutex_);
  /* Under the lock, so that Close() cannot come between: after it, `wake_` belongs to nobody. */
  if (closed_) return;
  finished_.push_back(std::move(request));
  if (woken_) return;
  woken_ = true;
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

bool Channel::Register(std::weak_ptr<Worker> worker) {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  if (workers_.size() >= prune_at_) {
    std::erase_if(workers_, [](const auto& old) { return old.expired(); });
    prune_at_ = 2 * workers_.size() + 64;
  }
  workers_.push_back(std::move(worker));
  return true;
}

void Channel::Begin() {
  if (awaited_++ == 0) napi_ref_threadsafe_function(env_, wake_);
}

void Channel::OnWake(napi_env env, napi_value, void* context, void*) {
  /* Null while the environment ends. */
  if (env) static_cast<Channel*>(context)->Drain(env);
}

void Channel::Drain(napi_env env) {
  std::deque<std::unique_ptr<Request>> finished;
  {
    const std::lock_guard lock(mutex_);
    woken_ = false;
    finished.swap(finished_);
  }
  for (auto& request : finished) {
    Napi::HandleScope scope(env);
    const bool awaited = request->awaited();
    request->Settle(env);
    request.reset();
    if (awaited && --awaited_ == 0) napi_unref_threadsafe_function(env, wake_);
  }
}

void Channel::Close() {
  std::deque<std::unique_ptr<Request>> dropped;
  std::vector<std::weak_ptr<Worker>> workers;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    dropped.swap(finished_);
    workers.swap(workers_);
  }
  dropped.clear();
  std::vector<std::shared_ptr<Worker>> running;
  for (auto& weak : workers) {
    if (std::shared_ptr<Worker> worker = weak.lock()) {
      worker->Abandon();
      running.push_back(std::move(worker));
    }
  }
  const auto deadline = std::chrono::steady_clock::now() + kEndWait;
  for (auto& worker : running) {
    worker->WaitEnded([&] { return std::chrono::steady_clock::now() >= deadline; });
  }
}

EnvData::EnvData(Napi::Env env) : channel(std::make_shared<Channel>(env)) {
  /* Hooks run last-added first: this one before the one by which the thread-safe function ends. It has a
   * reference of its own, because the instance data may be freed first. */
  auto* held = new std::shared_ptr<Channel>(channel);
  const napi_status status = napi_add_env_cleanup_hook(
      env,
      [](void* arg) {
        const std::unique_ptr<std::shared_ptr<Channel>> channel(static_cast<std::shared_ptr<Channel>*>(arg));
        (*channel)->Close();
      },
      held);
  if (status != napi_ok) {
    delete held;
    throw Napi::Error::New(env);
  }
}

}  // namespace vfm
