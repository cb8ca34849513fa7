/* The kernel table of the running Linux: each member is the system call of that name. */
#ifndef VFIO_MIGRATE_KERNEL_LINUX_H
#define VFIO_MIGRATE_KERNEL_LINUX_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Never NULL, valid until the process ends; retain() and release() do nothing. */
struct vfm_kernel* vfm_linux_kernel(void);

#ifdef __cplusplus
}
#endif
#endif
