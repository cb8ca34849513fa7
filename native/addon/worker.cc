#include "worker.h"

#include <pthread.h>

#include <cerrno>

namespace vfm {

namespace {

/* The deepest caller is a transfer, whose buffers are on the heap. */
constexpr size_t kStackSize = size_t{512} << 10;
constexpr std::chrono::milliseconds kLookAgain{10};

}  // namespace

Failure Worker::CallFailed(long result, std::string syscall, std::string path) {
  if (result == kInterrupted) {
    Failure canceled = Failure::Code("ERR_CANCELED", std::move(syscall));
    canceled.path = std::move(path);
    return canceled;
  }
  return Failure::Errno(static_cast<int>(-result), std::move(syscall), std::move(path));
}

void Worker::Start() {
  const std::lock_guard lock(mutex_);
  if (!closing_) (void)StartLocked();
}

void Worker::Post(std::unique_ptr<Request> request) {
  Failure why;
  {
    const std::lock_guard lock(mutex_);
    const int error = closing_ ? 0 : StartLocked();
    if (!closing_ && error == 0) {
      queue_.push_back(std::move(request));
      wake_.notify_one();
      return;
    }
    why = closing_ ? Failure::Code("ERR_CLOSED") : Failure::Errno(error, "pthread_create");
  }
  request->Refuse(std::move(why));
  delivery_->Deliver(std::move(request));
}

void Worker::Close(std::unique_ptr<Request> waiter) {
  bool close_here = false;
  {
    const std::lock_guard lock(mutex_);
    const bool first = !closing_;
    closing_ = true;
    if (waiter) waiters_.push_back(std::move(waiter));
    wake_.notify_one();
    if (!ended_) {
      /* Nothing to close, or no thread to be had for it. */
      close_here = first && !started_ && !(HasDescriptors() && StartLocked() == 0);
      if (!close_here) return;
    }
  }
  if (close_here) OnClose();
  Ended();
}

void Worker::Cancel() {
  std::deque<std::unique_ptr<Request>> queued;
  {
    const std::lock_guard lock(mutex_);
    queued.swap(queue_);
    if (running_ && running_->Interrupt()) interruptible_.Interrupt();
  }
  for (auto& request : queued) {
    request->Refuse(Failure::Code("ERR_CANCELED"));
    delivery_->Deliver(std::move(request));
  }
}

void Worker::Abandon() {
  std::deque<std::unique_ptr<Request>> dropped;
  {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    dropped.swap(queue_);
    if (running_) {
      running_->Interrupt();
      interruptible_.Interrupt();
    }
  }
  Close(nullptr);
}

bool Worker::closing() {
  const std::lock_guard lock(mutex_);
  return closing_;
}

bool Worker::abandoned() {
  const std::lock_guard lock(mutex_);
  return abandoned_;
}

bool Worker::WaitEnded(const std::function<bool()>& give_up) {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    lock.unlock();
    if (give_up()) return false;
    lock.lock();
    ended_cv_.wait_for(lock, kLookAgain, [this] { return ended_; });
  }
  return true;
}

int Worker::StartLocked() {
  if (started_) return 0;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackSize);
  auto self = std::make_unique<std::shared_ptr<Worker>>(shared_from_this());
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, Main, self.get());
  pthread_attr_destroy(&attributes);
  if (error == 0) {
    /* The thread owns it now. */
    (void)self.release();
    started_ = true;
  }
  return error;
}

void* Worker::Main(void* arg) {
  const std::unique_ptr<std::shared_ptr<Worker>> self(static_cast<std::shared_ptr<Worker>*>(arg));
  pthread_setname_np(pthread_self(), "vfio-migrate");
  {
    const Interruptible::Attachment attachment((*self)->interruptible_);
    (*self)->Serve();
    (*self)->OnClose();
    (*self)->Ended();
  }
  return nullptr;
}

void Worker::Serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::unique_ptr<Request> request = std::move(queue_.front());
    queue_.pop_front();
    running_ = request.get();
    lock.unlock();
    request->Run();
    lock.lock();
    running_ = nullptr;
    /* Under the lock: a Cancel() that still saw this request must not hit the next one. */
    interruptible_.Clear();
    lock.unlock();
    delivery_->Deliver(std::move(request));
    lock.lock();
  }
}

void Worker::Ended() {
  std::vector<std::unique_ptr<Request>> waiters;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    waiters.swap(waiters_);
    ended_cv_.notify_all();
  }
  for (auto& waiter : waiters) {
    waiter->Run();
    delivery_->Deliver(std::move(waiter));
  }
}

}  // namespace vfm
