/* One thread that makes blocking system calls, and the queue of requests it serves in order. No N-API.
 *
 * Not libuv's pool: its threads are four, and ending the process waits for whatever one of them is blocked
 * in.
 *
 * Life: the thread is started by the first request and ended by Close() (after what is queued) or Abandon()
 * (at once). It holds a reference to its Worker until then, touches nothing of JavaScript's, and hands what
 * is done to the Delivery. So a thread that is stuck in an ioctl nobody can interrupt may be left behind:
 * when the kernel lets it go, it closes its descriptors, frees its Worker and ends. */
#ifndef VFIO_MIGRATE_ADDON_WORKER_H
#define VFIO_MIGRATE_ADDON_WORKER_H

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "../vfio/interrupt.h"
#include "outcome.h"

struct napi_env__;

namespace vfm {

class Worker;

class Request {
 public:
  virtual ~Request() = default;
  /* Worker's thread. */
  virtual void Run() noexcept = 0;
  /* Instead of Run(), any thread: it was never begun. */
  virtual void Refuse(Failure why) noexcept = 0;
  /* Any thread, while Run() runs: ends what Worker::Call() does not. False: that may not be cancelled
   * meanwhile. */
  virtual bool Interrupt() noexcept { return true; }
  /* JavaScript's thread, after Run() or Refuse(). A request may be destroyed without it, on any thread. */
  virtual void Settle(napi_env__* env) noexcept = 0;
  /* Does a promise hang on it? */
  virtual bool awaited() const { return true; }
};

/* Where finished requests go; the workers of one environment share one. Any thread. */
class Delivery {
 public:
  virtual ~Delivery() = default;
  virtual void Deliver(std::unique_ptr<Request> request) noexcept = 0;
  /* Remembers a worker, to be abandoned when the environment ends. False when it has ended already. */
  virtual bool Register(std::weak_ptr<Worker> worker) = 0;
};

class Worker : public std::enable_shared_from_this<Worker> {
 public:
  virtual ~Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /* The way to make one: a T that `delivery` knows. */
  template <class T, class... Args>
  static std::shared_ptr<T> Make(const std::shared_ptr<Delivery>& delivery, Args&&... args) {
    auto worker = std::make_shared<T>(delivery, std::forward<Args>(args)...);
    if (!delivery->Register(worker)) worker->Abandon();
    return worker;
  }

  /* Any thread, all of these. */

  /* Starts the thread before there is anything for it to do, which saves its start where that would matter.
   * The first request tries again where it fails. */
  void Start();
  /* Queues a request. It is always delivered, with ERR_CLOSED after Close(). */
  void Post(std::unique_ptr<Request> request);
  /* Ends after what is queued. `waiter` (may be null) is run and delivered when that is done, also when it
   * long was. */
  void Close(std::unique_ptr<Request> waiter);
  /* What is running or queued ends with ERR_CANCELED, unless it is done already. Close() is not affected. */
  void Cancel();
  /* Close() without delivery: queued requests are dropped, the running one is interrupted. */
  void Abandon();
  bool closing();
  bool abandoned();
  /* True when the thread has ended; false when `give_up` said so first. */
  bool WaitEnded(const std::function<bool()>& give_up);

 protected:
  explicit Worker(std::shared_ptr<Delivery> delivery) : delivery_(std::move(delivery)) {}

  /* On the worker's thread: one system call, which gives >= 0 or a negated errno, or kInterrupted. */
  template <class F>
  long Call(F&& call, bool retry = true) {
    return interruptible_.Call(std::forward<F>(call), retry);
  }
  /* What a Call() that failed is reported as. */
  static Failure CallFailed(long result, std::string syscall, std::string path = {});

  const std::shared_ptr<Delivery>& delivery() const { return delivery_; }

 private:
  /* Worker's thread, last: closes descriptors. */
  virtual void OnClose() {}
  /* Is there something to close although no request ever ran? */
  virtual bool HasDescriptors() const { return false; }

  static void* Main(void* arg);
  void Serve();
  void Ended();
  int StartLocked();

  const std::shared_ptr<Delivery> delivery_;
  Interruptible interruptible_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable ended_cv_;
  std::deque<std::unique_ptr<Request>> queue_;
  std::vector<std::unique_ptr<Request>> waiters_;
  Request* running_ = nullptr;
  bool started_ = false;
  bool closing_ = false;
  bool abandoned_ = false;
  bool ended_ = false;
};

}  // namespace vfm
#endif
