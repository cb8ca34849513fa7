#include "calls.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>

namespace vfm {

namespace {

struct Row {
  const char* name;
  Calls::Function function;
};

constexpr Row kCalls[] = {
    {"openat",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->openat(k->ctx, AT_FDCWD, reinterpret_cast<const char*>(a.arg()),
                        static_cast<int>(a.number | O_CLOEXEC), 0);
     }},
    {"close", [](vfm_kernel* k, CallArgs& a) -> long { return k->close(k->ctx, a.fd); }},
    {"ioctl", [](vfm_kernel* k, CallArgs& a) -> long { return k->ioctl(k->ctx, a.fd, a.number, a.arg()); }},
    {"read",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->read(k->ctx, a.fd, reinterpret_cast<void*>(a.arg()), a.length);
     }},
    {"write",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->write(k->ctx, a.fd, reinterpret_cast<const void*>(a.arg()), a.length);
     }},
    {"pread",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->pread(k->ctx, a.fd, reinterpret_cast<void*>(a.arg()), a.length, a.offset);
     }},
    {"pwrite",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->pwrite(k->ctx, a.fd, reinterpret_cast<const void*>(a.arg()), a.length, a.offset);
     }},
    /* Gives what is ready, without waiting. */
    {"poll",
     [](vfm_kernel* k, CallArgs& a) -> long {
       pollfd asked = {a.fd, static_cast<short>(a.number), 0};
       const int ready = k->poll(k->ctx, &asked, 1, 0);
       return ready < 0 ? ready : asked.revents;
     }},
    {"fcntl",
     [](vfm_kernel* k, CallArgs& a) -> long {
       return k->fcntl(k->ctx, a.fd, static_cast<int>(a.number), a.arg());
     }},
};

}  // namespace

Calls::Function Calls::Find(const std::string& name) {
  for (const Row& row : kCalls)
    if (name == row.name) return row.function;
  return nullptr;
}

Outcome<int> Calls::Make(Function function, CallArgs& args) {
  const long result = Call([&] { return function(kernel_.get(), args); }, false);
  if (result == kInterrupted) return CallFailed(result, "call");
  return static_cast<int>(result);
}

}  // namespace vfm
