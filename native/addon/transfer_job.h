/* A transfer between the thread that runs it and the object by which JavaScript watches it. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_TRANSFER_JOB_H
#define VFIO_MIGRATE_ADDON_TRANSFER_JOB_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "../vfio/transfer.h"
#include "device.h"
#include "outcome.h"

namespace vfm {

using Leases = std::vector<std::unique_ptr<DataFd::Lease>>;

/* What is asked of the source's device when its stream has ended with 0 and it is in `from` still. */
struct LeaveRequest {
  uint32_t from, to;
};

struct TransferReport {
  TransferResult moved;
  /* Of the source's device, read after its stream had ended with 0. */
  std::optional<uint32_t> state;
  /* The request that followed: CLOCK_MONOTONIC, and why it failed. */
  struct Left {
    uint64_t start_ns, end_ns;
    std::optional<Failure> failure;
  };
  std::optional<Left> left;
};

class TransferJob {
 public:
  TransferJob(std::unique_ptr<Transfer> transfer, Leases leases, std::optional<LeaveRequest> leave)
      : transfer_(std::move(transfer)), leases_(std::move(leases)), leave_(leave) {}

  /* Once, on a worker's thread; that of the source's data fd, where there is one. Descriptors and buffers are
   * given back before it returns, and not when a script's object is collected: who reads from the other end
   * of a pipe waits for that. */
  Outcome<TransferReport> Run(DataFd* source);

  /* Instead of Run(). */
  void Drop();

  /* Any thread, any time. */
  void Cancel();
  uint64_t progress();
  /* When the request was made that follows the transfer; 0 before. */
  uint64_t asked_ns() const { return asked_ns_; }

 private:
  void Leave(DataFd& source, TransferReport& report);

  std::mutex mutex_;
  std::unique_ptr<Transfer> transfer_;
  Leases leases_;
  const std::optional<LeaveRequest> leave_;
  std::atomic<uint64_t> asked_ns_{0};
  uint64_t moved_ = 0;
};

/* What a transfer that failed is reported as. */
Failure TransferFailed(const TransferError& error);

/* The thread of a transfer that has no data fd, whose thread would run it. */
class TransferThread final : public Worker {
 public:
  explicit TransferThread(std::shared_ptr<Delivery> delivery) : Worker(std::move(delivery)) {}
};

}  // namespace vfm
#endif
