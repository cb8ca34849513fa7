/* The seam: every system call that vfio-migrate makes on a VFIO device, and on the parts of /dev, /sys and
 * /proc that describe it, goes through one of these tables. `linux.cc` fills one with the calls themselves;
 * the mock kernel (a shared library of its own, native/mock) fills another.
 *
 * Plain C, because the two sides are built separately: no exception and no C++ type crosses it.
 *   - every function takes the provider's context first;
 *   - every function returns >= 0, or a negated errno; `errno` itself is never used;
 *   - descriptors are the provider's own numbers. 0 is a valid one. They mean nothing to another kernel;
 *   - a blocking call returns -EINTR when the calling thread takes a signal, as Linux does;
 *   - all functions may be called from any thread at the same time. */
#ifndef VFIO_MIGRATE_KERNEL_H
#define VFIO_MIGRATE_KERNEL_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a member changes its meaning. Members are only ever added at the end; `size` tells how many
 * there are. */
#define VFM_KERNEL_ABI 1u

/* What the tool needs of stat(2), in types that do not depend on the C library. */
struct vfm_stat {
  uint32_t mode; /* S_IFMT | permissions */
  uint32_t uid;
  uint64_t size;
  uint64_t rdev; /* makedev() of a device node, else 0 */
  uint64_t ino;
};

/* What the tool needs of uname(2). NUL-terminated. */
struct vfm_uname {
  char sysname[65];
  char release[65];
  char machine[65];
};

struct vfm_kernel {
  uint32_t abi;  /* VFM_KERNEL_ABI of the provider */
  uint32_t size; /* sizeof(struct vfm_kernel) of the provider */
  void* ctx;     /* first argument of everything below */

  /* One reference is held by whoever got the table; each open handle holds one more. The last release() frees
   * the table itself too. */
  void (*retain)(void* ctx);
  void (*release)(void* ctx);

  /* "linux" or "mock": static storage. */
  const char* (*kind)(void* ctx);

  int (*openat)(void* ctx, int dirfd, const char* path, int flags, uint32_t mode);
  int (*close)(void* ctx, int fd);
  /* `arg` is a pointer or a value, as the request has it. */
  int (*ioctl)(void* ctx, int fd, unsigned long request, uintptr_t arg);
  ssize_t (*read)(void* ctx, int fd, void* buf, size_t len);
  ssize_t (*write)(void* ctx, int fd, const void* buf, size_t len);
  ssize_t (*pread)(void* ctx, int fd, void* buf, size_t len, int64_t offset);
  ssize_t (*pwrite)(void* ctx, int fd, const void* buf, size_t len, int64_t offset);
  int (*poll)(void* ctx, struct pollfd* fds, uint32_t nfds, int timeout_ms);
  int (*fcntl)(void* ctx, int fd, int cmd, uintptr_t arg);

  /* The file tree. `dirfd` may be AT_FDCWD; paths the tool uses are absolute. */
  ssize_t (*readlinkat)(void* ctx, int dirfd, const char* path, char* buf, size_t len);
  int (*fstatat)(void* ctx, int dirfd, const char* path, struct vfm_stat* out, int flags);
  int (*faccessat)(void* ctx, int dirfd, const char* path, int mode);
  /* Fills `buf` with `struct linux_dirent64` records, as getdents64(2); 0 at the end. */
  ssize_t (*getdents)(void* ctx, int fd, void* buf, size_t len);

  int (*uname)(void* ctx, struct vfm_uname* out);

  /* Descriptors that come from and go to other processes. A provider whose descriptors do not leave its
   * process leaves these out, or NULL: the caller takes that as -ENOSYS. A descriptor that arrives is
   * close-on-exec. */
  int (*pidfd_open)(void* ctx, int32_t pid, uint32_t flags);
  int (*pidfd_getfd)(void* ctx, int pidfd, int target, uint32_t flags);
  int (*socket)(void* ctx, int domain, int type, int protocol);
  int (*connect)(void* ctx, int fd, const struct sockaddr* address, uint32_t length);
  ssize_t (*sendmsg)(void* ctx, int fd, const struct msghdr* message, int flags);
  ssize_t (*recvmsg)(void* ctx, int fd, struct msghdr* message, int flags);

  /* A signal to the process of a pidfd, without a siginfo of its own. May be left out, as those above. */
  int (*pidfd_send_signal)(void* ctx, int pidfd, int signal, uint32_t flags);
  /* eventfd(2), for what a driver signals; may be left out as those above. */
  int (*eventfd)(void* ctx, uint32_t initial, int flags);
};

/* The least `size` of a provider: all before the members that may be left out. */
#define VFM_KERNEL_MIN_SIZE offsetof(struct vfm_kernel, pidfd_open)

/* ---- the mock kernel's library
 * ---------------------------------------------------------------------------------- */

/* Makes a kernel from a scenario (JSON text, schemas/scenario.schema.json). `state_dir` is the directory in
 * which devices that survive a process keep their state, or NULL for none. Returns 0 and a table with one
 * reference, or a negated errno with a sentence for people in `error` (NUL-terminated, cut at `error_size`).
 * `abi` is the caller's VFM_KERNEL_ABI; a library that cannot serve it answers -EPROTO. */
typedef int (*vfio_mock_create_fn)(uint32_t abi, const char* scenario, size_t scenario_len,
                                   const char* state_dir, struct vfm_kernel** out, char* error,
                                   size_t error_size);
#define VFIO_MOCK_CREATE "vfio_mock_create"

/* Control interface: a JSON request in, a JSON answer out ("op" says what; docs/mock.md lists them). Returns
 * 0 or a negated errno; `*answer` is always set to a NUL-terminated text that vfio_mock_free() releases. */
typedef int (*vfio_mock_control_fn)(struct vfm_kernel* kernel, const char* request, size_t request_len,
                                    char** answer);
#define VFIO_MOCK_CONTROL "vfio_mock_control"
typedef void (*vfio_mock_free_fn)(char* answer);
#define VFIO_MOCK_FREE "vfio_mock_free"

#ifdef __cplusplus
}
#endif
#endif
