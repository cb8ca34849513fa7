/* Another process, as far as descriptors of devices come from it or go to it: its pidfd, or a socket that it
 * listens on. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_PEER_H
#define VFIO_MIGRATE_ADDON_PEER_H

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "device.h"

namespace vfm {

/* Makes a call of the table that a provider may have left out: -ENOSYS then. */
template <class Member, class... Args>
auto CallOptional(const KernelRef& kernel, Member vfm_kernel::*member, Args... args) {
  const vfm_kernel* table = kernel.get();
  const auto end = reinterpret_cast<uintptr_t>(&(table->*member)) + sizeof(Member);
  using Result = decltype((table->*member)(table->ctx, args...));
  if (end > reinterpret_cast<uintptr_t>(table) + table->size || !(table->*member)) {
    return static_cast<Result>(-ENOSYS);
  }
  return (table->*member)(table->ctx, args...);
}

class Peer final : public Worker {
 public:
  Peer(std::shared_ptr<Delivery> delivery, KernelRef kernel)
      : Worker(std::move(delivery)), kernel_(std::move(kernel)) {}

  /* One of these, once. */
  Outcome<Nothing> AdoptFd(int number);
  Outcome<Nothing> OpenProcess(int32_t pid);
  /* An eventfd. */
  Outcome<Nothing> OpenEvent();
  Outcome<Nothing> Connect(const std::string& path);

  /* Until there is something to read: for a pidfd, until the process has ended. */
  Outcome<Nothing> WaitReadable();
  Outcome<Bytes> Read(size_t max);
  Outcome<uint32_t> Write(const Bytes& data);
  /* To the process of the pidfd. */
  Outcome<Nothing> Signal(int number);

  /* Any thread. Never null; an invalid one before anything was opened. It stays open for as long as somebody
   * has it. */
  std::shared_ptr<const Fd> fd();

 private:
  void OnClose() override;
  Outcome<Nothing> Take(long fd, const char* syscall, const std::string& path);

  const KernelRef kernel_;
  std::mutex mutex_;
  std::shared_ptr<const Fd> fd_ = std::make_shared<Fd>();
};

}  // namespace vfm
#endif
