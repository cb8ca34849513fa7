#include "mock/errnos.h"

#include <cerrno>

namespace vfm::mock {

namespace {

struct Row {
  const char* name;
  int number;
};

#define ROW(e) \
  {            \
#e, e      \
  }
constexpr Row kTable[] = {
    ROW(EPERM),     ROW(ENOENT),      ROW(EINTR),     ROW(EIO),          ROW(ENXIO),     ROW(E2BIG),
    ROW(EBADF),     ROW(EAGAIN),      ROW(ENOMEM),    ROW(EACCES),       ROW(EFAULT),    ROW(EBUSY),
    ROW(EEXIST),    ROW(EXDEV),       ROW(ENODEV),    ROW(ENOTDIR),      ROW(EISDIR),    ROW(EINVAL),
    ROW(ENFILE),    ROW(EMFILE),      ROW(ENOTTY),    ROW(EFBIG),        ROW(ENOSPC),    ROW(ESPIPE),
    ROW(EROFS),     ROW(EPIPE),       ROW(ERANGE),    ROW(ENAMETOOLONG), ROW(ENOSYS),    ROW(ELOOP),
    ROW(ENOMSG),    ROW(ENODATA),     ROW(EPROTO),    ROW(EBADMSG),      ROW(EOVERFLOW), ROW(EBADFD),
    ROW(EREMOTEIO), ROW(EALREADY),    ROW(ECANCELED), ROW(EOPNOTSUPP),   ROW(ENOTCONN),  ROW(ETIMEDOUT),
    ROW(EHOSTDOWN), ROW(EINPROGRESS), ROW(ESTALE),    ROW(EKEYREJECTED), ROW(ENOKEY),    ROW(ENOLINK),
    ROW(ECOMM),     ROW(EUCLEAN),     ROW(ESRCH),     ROW(EDEADLK),
};
#undef ROW

}  // namespace

int ErrnoOf(std::string_view name) {
  for (const Row& r : kTable)
    if (name == r.name) return r.number;
  return 0;
}

std::string ErrnoName(int number) {
  for (const Row& r : kTable)
    if (number == r.number) return r.name;
  return std::to_string(number);
}

}  // namespace vfm::mock
