// Getting a thread out of a blocking system call.
//
// A thread that makes blocking calls owns an Interruptible and makes them through Call(). Interrupt(), from
// any thread, sets a flag and sends the thread a signal whose handler does nothing and was installed without
// SA_RESTART: the call returns EINTR, and Call() gives kInterrupted. The signal may arrive between the look
// at the flag and the entry into the kernel, where it is lost; so it is sent again every few milliseconds
// until the thread has left the call.
//
// The signal is a real-time one: the highest below SIGRTMAX whose disposition is still the default when the
// first thread attaches (the highest itself is taken by debugging tools). A handler of the host program is
// never replaced, and when the host later takes the number over, nothing is sent any more: a request to stop
// then takes effect when the call returns by itself. SIGURG and SIGUSR* are left alone because run-times and
// programs use them.
//
// What a signal cannot end: an ioctl or read in which the driver waits uninterruptibly. Interrupt() never
// waits for it.
#ifndef VFIO_MIGRATE_VFIO_INTERRUPT_H
#define VFIO_MIGRATE_VFIO_INTERRUPT_H

#include <cerrno>
#include <csignal>
#include <memory>

namespace vfm {

// Call() was interrupted by Interrupt(). No errno has this value (the kernel's end at 4095).
inline constexpr long kInterrupted = -4096;

class Interruptible {
 public:
  Interruptible();
  ~Interruptible();  // not while a thread is attached
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

  // Makes the calling thread the one that Call() runs on, for as long as the object lives. It blocks every
  // signal but our own and the synchronous ones (a host's handler must not run here, and its EINTR must not
  // be seen by a driver), so EPIPE arrives as an errno. At the end the old mask is back; a SIGPIPE that was
  // raised meanwhile is dropped.
  class Attachment {
   public:
    explicit Attachment(Interruptible& target);
    ~Attachment();
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;

   private:
    Interruptible& target_;
    sigset_t old_mask_;
  };

  // Any thread, any time. The flag stays until Clear(): a Call() that starts later does not enter the kernel
  // at all. Returns at once.
  void Interrupt() noexcept;

  // Attached thread, outside Call(): forgets the request, for a thread that serves several. No signal that
  // belongs to the forgotten request is seen by a later call.
  void Clear() noexcept;

  [[nodiscard]] bool interrupted() const noexcept;

  // Attached thread. `call` makes one system call and returns >= 0 or a negated errno. It is made again after
  // an EINTR that nobody asked for (`retry` false: -EINTR is then handed on, for calls that must not be
  // repeated). Gives kInterrupted when Interrupt() was called before or meanwhile and the call did nothing; a
  // call that has succeeded or failed otherwise keeps its result.
  template <class F>
  long Call(F&& call, bool retry = true) {
    for (;;) {
      if (!Enter()) return kInterrupted;
      const long result = static_cast<long>(call());
      Leave();
      if (result != -EINTR) return result;
      if (interrupted()) return kInterrupted;
      if (!retry) return result;
    }
  }

 private:
  struct State;
  class Repeater;

  bool Enter() noexcept;
  void Leave() noexcept;

  // Shared with the thread that repeats the signal, which may look at it a moment longer than the owner
  // lives.
  std::shared_ptr<State> state_;
};

}  // namespace vfm

#endif
