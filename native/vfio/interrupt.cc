#include "interrupt.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace vfm {

struct Interruptible::State {
  // Who is to be interrupted: `in_call` and `wanted` are each set before the other is looked at (sequentially
  // consistent), so a thread that enters a call and an Interrupt() cannot both miss the other.
  std::atomic<bool> wanted{false};
  std::atomic<bool> in_call{false};
  // Guards what follows, and is held while a signal is sent: whoever has held it since knows that no other
  // comes.
  std::mutex mutex;
  pid_t tid = 0;
  int signal = 0;
};

namespace {

constexpr std::chrono::milliseconds kRepeatEvery{5};

void DoNothing(int) {}

bool IsOurs(int signal) {
  struct sigaction current;
  return sigaction(signal, nullptr, &current) == 0 && current.sa_handler == DoNothing;
}

// Takes a real-time signal that nobody has a handler for. 0 when there is none: then calls cannot be
// interrupted.
int AcquireSignal() {
  static std::mutex mutex;
  static int acquired = 0;
  const std::lock_guard lock(mutex);
  if (acquired != 0 && IsOurs(acquired)) return acquired;
  acquired = 0;
  for (int signal = SIGRTMAX - 1; signal >= SIGRTMIN; --signal) {
    struct sigaction ours = {}, before;
    ours.sa_handler = DoNothing;
    ours.sa_flags = SA_ONSTACK;  // and no SA_RESTART
    sigemptyset(&ours.sa_mask);
    if (sigaction(signal, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) continue;
    // Between the look and the change the host may have installed a handler: give it back.
    if (sigaction(signal, &ours, &before) != 0) continue;
    if (before.sa_handler != SIG_DFL) {
      sigaction(signal, &before, nullptr);
      continue;
    }
    acquired = signal;
    break;
  }
  return acquired;
}

}  // namespace

// The thread that sends signals again until they are acknowledged. It is started by the first Interrupt()
// that needs it and lives as long as the process; the object is never destroyed, because its thread and the
// threads that use it have no order with the end of the process.
class Interruptible::Repeater {
 public:
  static Repeater& Get() {
    static Repeater* const repeater = new Repeater;
    return *repeater;
  }

  void Add(std::shared_ptr<State> target) {
    const std::lock_guard lock(mutex_);
    if (!started_) StartThread();
    started_ = true;
    pending_.push_back(std::move(target));
    wake_.notify_one();
  }

  // One signal. False when none is needed any more.
  static bool Send(State& target) {
    const std::lock_guard lock(target.mutex);
    if (target.tid == 0 || !target.wanted || !target.in_call) return false;
    if (IsOurs(target.signal)) syscall(SYS_tgkill, getpid(), target.tid, target.signal);
    return true;
  }

 private:
  void StartThread() {
    // It inherits a mask that keeps the host's signals away from it.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      std::thread([this] { Run(); }).detach();
    } catch (...) {
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
      throw;
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }

  [[noreturn]] void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return !pending_.empty(); });
      lock.unlock();
      std::this_thread::sleep_for(kRepeatEvery);
      lock.lock();
      std::erase_if(pending_, [](const auto& target) { return !Send(*target); });
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<State>> pending_;
  bool started_ = false;
};

Interruptible::Interruptible() : state_(std::make_shared<State>()) {}
Interruptible::~Interruptible() = default;

Interruptible::Attachment::Attachment(Interruptible& target) : target_(target) {
  State& state = *target_.state_;
  {
    const std::lock_guard lock(state.mutex);
    state.tid = static_cast<pid_t>(syscall(SYS_gettid));
    state.signal = AcquireSignal();
  }
  sigset_t mask;
  sigfillset(&mask);
  for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
    sigdelset(&mask, synchronous);
  }
  if (state.signal != 0) sigdelset(&mask, state.signal);
  pthread_sigmask(SIG_SETMASK, &mask, &old_mask_);
}

Interruptible::Attachment::~Attachment() {
  {
    const std::lock_guard lock(target_.state_->mutex);
    target_.state_->tid = 0;
  }
  if (!sigismember(&old_mask_, SIGPIPE)) {
    // Raised by our own writes: they have reported EPIPE already.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    const timespec now = {};
    while (sigtimedwait(&pipe, nullptr, &now) == SIGPIPE || errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void Interruptible::Interrupt() noexcept {
  state_->wanted = true;
  if (!Repeater::Send(*state_)) return;
  try {
    Repeater::Get().Add(state_);
  } catch (const std::exception&) {
    // No memory or no thread: the one signal that was sent has to do.
  }
}

void Interruptible::Clear() noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    state_->wanted = false;
  }
  // A signal sent before is delivered, at the latest, on the way back from this call.
  syscall(SYS_gettid);
}

bool Interruptible::interrupted() const noexcept {
  return state_->wanted;
}

bool Interruptible::Enter() noexcept {
  state_->in_call = true;
  if (!state_->wanted) return true;
  state_->in_call = false;
  return false;
}

void Interruptible::Leave() noexcept {
  state_->in_call = false;
}

}  // namespace vfm
