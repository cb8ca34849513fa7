#include "mock/user.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vfm::mock {

namespace {

enum class Answer { Yes, Fault, Unknown };

Answer Ask(bool write, void* local, uintptr_t remote, size_t n) {
  iovec here{local, n};
  iovec there{reinterpret_cast<void*>(remote), n};
  ssize_t r = write ? process_vm_writev(getpid(), &here, 1, &there, 1, 0)
                    : process_vm_readv(getpid(), &here, 1, &there, 1, 0);
  if (r >= 0) return static_cast<size_t>(r) == n ? Answer::Yes : Answer::Fault;
  return errno == EFAULT ? Answer::Fault : Answer::Unknown;
}

// Where a sandbox forbids the system call, pointers are believed: the caller is our own addon.
bool Vm(bool write, void* local, uintptr_t remote, size_t n) {
  return Ask(write, local, remote, n) != Answer::Fault;
}

bool Plausible(uintptr_t p, size_t n) {
  return p >= 4096 && p + n >= p;
}

}  // namespace

// Each copy is made twice: once through the kernel, which checks, and once in the open, so that sanitizers
// see it.

bool CopyFromUser(void* to, uintptr_t from, size_t n) {
  if (n == 0) return true;
  if (!Plausible(from, n) || !Vm(false, to, from, n)) return false;
  memcpy(to, reinterpret_cast<const void*>(from), n);
  return true;
}

bool CopyToUser(uintptr_t to, const void* from, size_t n) {
  if (n == 0) return true;
  if (!Plausible(to, n) || !Vm(true, const_cast<void*>(from), to, n)) return false;
  memcpy(reinterpret_cast<void*>(to), from, n);
  return true;
}

bool UserCanRead(const void* p, size_t n) {
  auto at = reinterpret_cast<uintptr_t>(p);
  char byte;
  return n == 0 || (Plausible(at, n) && Vm(false, &byte, at, 1) && Vm(false, &byte, at + n - 1, 1));
}

bool UserCanWrite(void* p, size_t n) {
  auto at = reinterpret_cast<uintptr_t>(p);
  // The bytes are about to be overwritten, so any value will do.
  char byte = 0;
  return n == 0 || (Plausible(at, n) && Vm(true, &byte, at, 1) && Vm(true, &byte, at + n - 1, 1));
}

// Reads beyond the string's end, in steps that stay in a page: so only through the kernel, never in the open.
int StringFromUser(std::string& to, uintptr_t from, size_t max) {
  to.clear();
  if (!Plausible(from, 1)) return -EFAULT;
  while (to.size() < max) {
    char chunk[256];
    uintptr_t at = from + to.size();
    size_t n = std::min({sizeof chunk, max - to.size(), 4096 - at % 4096});
    Answer answer = Ask(false, chunk, at, n);
    if (answer == Answer::Fault) return -EFAULT;
    if (answer == Answer::Unknown) {
      const char* text = reinterpret_cast<const char*>(at);
      size_t length = strnlen(text, max - to.size());
      bool fits = length < max - to.size();
      to.append(text, length);
      return fits ? 0 : -EINVAL;
    }
    size_t length = strnlen(chunk, n);
    to.append(chunk, length);
    if (length < n) return 0;
  }
  return -EINVAL;
}

}  // namespace vfm::mock
