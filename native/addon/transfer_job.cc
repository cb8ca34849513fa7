#include "transfer_job.h"

namespace vfm {

Failure TransferFailed(const TransferError& error) {
  Failure failure;
  failure.error = error.code ? 0 : error.error;
  failure.code = error.code ? error.code : "";
  failure.syscall = error.syscall ? error.syscall : "";
  failure.side = error.side == TransferSide::kSource ? "source" : "sink";
  failure.bytes = error.bytes;
  return failure;
}

Outcome<TransferReport> TransferJob::Run() {
  const TransferOutcome outcome = transfer_->Run();
  Drop();
  if (!outcome.ok) return TransferFailed(outcome.error);
  return TransferReport{outcome.result, std::nullopt};
}

void TransferJob::Drop() {
  std::unique_ptr<Transfer> transfer;
  Leases leases;
  {
    const std::lock_guard lock(mutex_);
    if (transfer_) moved_ = transfer_->progress();
    transfer.swap(transfer_);
    leases.swap(leases_);
  }
  /* The descriptors outside the lock: closing one may take its time. */
}

void TransferJob::Cancel() {
  const std::lock_guard lock(mutex_);
  if (transfer_) transfer_->Cancel();
}

uint64_t TransferJob::progress() {
  const std::lock_guard lock(mutex_);
  return transfer_ ? transfer_->progress() : moved_;
}

}  // namespace vfm
