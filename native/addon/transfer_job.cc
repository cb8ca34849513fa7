#include "transfer_job.h"

#include "../vfio/clock.h"

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

Outcome<TransferReport> TransferJob::Run(DataFd* source) {
  const TransferOutcome outcome = transfer_->Run();
  TransferReport report{outcome.result, std::nullopt, std::nullopt};
  /* Before anything is given back, which takes its time: the device may stand still. */
  if (source && outcome.ok && outcome.result.end == TransferEnd::kZero) Leave(*source, report);
  Drop();
  if (!outcome.ok) return TransferFailed(outcome.error);
  return report;
}

void TransferJob::Leave(DataFd& source, TransferReport& report) {
  Outcome<uint32_t> state = source.DeviceState();
  if (!state.ok()) return;
  report.state = state.value();
  if (!leave_ || leave_->from != state.value()) return;
  TransferReport::Left& left = report.left.emplace();
  asked_ns_ = left.start_ns = MonotonicNs();
  Outcome<Nothing> done = source.LeaveState(leave_->to);
  left.end_ns = MonotonicNs();
  if (!done.ok()) left.failure = done.failure();
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
