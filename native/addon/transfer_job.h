/* A transfer between the thread that runs it and the object by which JavaScript watches it. No N-API. */
#ifndef VFIO_MIGRATE_ADDON_TRANSFER_JOB_H
#define VFIO_MIGRATE_ADDON_TRANSFER_JOB_H

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "../vfio/transfer.h"
#include "device.h"
#include "outcome.h"

namespace vfm {

using Leases = std::vector<std::unique_ptr<DataFd::Lease>>;

struct TransferReport {
  TransferResult moved;
  /* Of the source's device, read after its stream had ended with 0. */
  std::optional<uint32_t> state;
};

class TransferJob {
 public:
  TransferJob(std::unique_ptr<Transfer> transfer, Leases leases)
      : transfer_(std::move(transfer)), leases_(std::move(leases)) {}

  /* Once, on a worker's thread. Descriptors and buffers are given back before it returns, and not when a
   * script's object is collected: who reads from the other end of a pipe waits for that. */
  Outcome<TransferReport> Run();
  /* Instead of Run(). */
  void Drop();

  /* Any thread, any time. */
  void Cancel();
  uint64_t progress();

 private:
  std::mutex mutex_;
  std::unique_ptr<Transfer> transfer_;
  Leases leases_;
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
