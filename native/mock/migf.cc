#include "mock/migf.h"

#include <algorithm>

#include "mock/device.h"
#include "mock/driver.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

Device* MigFile::device() const {
  return &driver_.device();
}

void MigFile::Disable() {
  {
    std::lock_guard hold(lock_);
    disabled_ = true;
  }
  ended_.Notify();
}

int MigFile::WaitAMoment(uint64_t ns, bool for_ever) {
  if (!for_ever) return SleepNs(ns, true);
  for (;;) {
    uint32_t ticket = ended_.Ticket();
    {
      std::lock_guard hold(lock_);
      if (disabled_) return -ENODEV;
    }
    if (int e = ended_.Wait(ticket); e != 0) return e;
  }
}

namespace {

// Nanoseconds that `n` bytes take.
uint64_t TransferNs(const MigrationKnobs& k, uint64_t n, uint32_t delay_ms) {
  uint64_t ns = uint64_t{delay_ms} * 1000000;
  if (k.bandwidth != 0)
    ns += static_cast<uint64_t>(static_cast<double>(n) * 1e9 / static_cast<double>(k.bandwidth));
  return ns;
}

}  // namespace

ssize_t SaveFile::Read(Call&, void* buf, size_t len) {
  auto config = driver_.device().config();
  const MigrationKnobs& k = config->knobs;
  size_t want;
  uint64_t at;
  {
    std::lock_guard hold(lock_);
    at = pos_;
    if (disabled_) return -ENODEV;
    Refill(false);
    uint64_t left = Filled() - pos_;
    want = static_cast<size_t>(std::min<uint64_t>(left, len));
  }
  if (want > 0) {
    if (k.block_read_at && *k.block_read_at == at) {
      if (k.honours_nonblock && (flags() & O_NONBLOCK) != 0) return -EAGAIN;
      return WaitAMoment(0, true);
    }
    if (int e = WaitAMoment(TransferNs(k, want, k.read_delay_ms), false); e != 0) return e;
  }
  std::lock_guard hold(lock_);
  if (disabled_) return -ENODEV;
  uint64_t left = Filled() - pos_;
  if (left == 0) return len == 0 || Complete() ? 0 : -k.temporary_end;
  size_t n = static_cast<size_t>(std::min<uint64_t>(left, len));
  if (k.read_chunk != 0) n = static_cast<size_t>(std::min<uint64_t>(n, k.read_chunk));
  if (k.block_read_at && *k.block_read_at > pos_)
    n = static_cast<size_t>(std::min<uint64_t>(n, *k.block_read_at - pos_));
  if (!UserCanWrite(buf, n)) return -EFAULT;
  CopyOut(pos_, static_cast<uint8_t*>(buf), n);
  pos_ += n;
  return static_cast<ssize_t>(n);
}

long SaveFile::Ioctl(Call&, unsigned long request, uintptr_t arg) {
  const PrecopyInfo has = driver_.device().config()->knobs.precopy_info;
  if (request != uapi::kMigGetPrecopyInfo || has == PrecopyInfo::None ||
      !driver_.device().mock().config.kernel.version.AtLeast(6, 2))
    return -ENOTTY;
  uapi::PrecopyInfo info;
  if (!CopyFromUser(&info, arg, sizeof info)) return -EFAULT;
  if (info.argsz < sizeof info) return -EINVAL;
  return driver_.WithState([&](uint32_t state) -> long {
    const bool there =
        state == uapi::kStatePreCopy || (state == uapi::kStatePreCopyP2p && has == PrecopyInfo::Both);
    if (!there) return -EINVAL;
    bool reinit;
    {
      std::lock_guard hold(lock_);
      if (disabled_) return -ENODEV;
      // In PRE_COPY_P2P the firmware is not asked (uAPI §4).
      reinit = state == uapi::kStatePreCopy && Refill(true);
      PrecopyBytes(info.initial_bytes, info.dirty_bytes);
    }
    // Without the opt-in the kernel gives back what the caller wrote (uAPI §1.7).
    if (driver_.device().precopy_info_v2()) info.flags = reinit ? uapi::kPrecopyInfoReinit : 0;
    return CopyToUser(arg, &info, sizeof info) ? 0 : -EFAULT;
  });
}

short SaveFile::Poll() {
  if (!driver_.device().config()->knobs.polls) return MigFile::Poll();
  std::lock_guard hold(lock_);
  if (disabled_) return POLLIN | POLLRDNORM | POLLRDHUP;
  Refill(false);
  return Filled() > pos_ || Complete() ? POLLIN | POLLRDNORM : 0;
}

ssize_t LoadFile::Write(Call&, const void* buf, size_t len) {
  auto config = driver_.device().config();
  const MigrationKnobs& k = config->knobs;
  if (k.write_chunk != 0) len = static_cast<size_t>(std::min<uint64_t>(len, k.write_chunk));
  {
    std::lock_guard hold(lock_);
    if (int e = Refuses(len); e != 0) return e;
    if (disabled_) return -ENODEV;
  }
  if (int e = WaitAMoment(TransferNs(k, len, k.write_delay_ms), false); e != 0) return e;
  if (!UserCanRead(buf, len)) return -EFAULT;
  std::lock_guard hold(lock_);
  if (disabled_) return -ENODEV;
  return Take(static_cast<const uint8_t*>(buf), len);
}

}  // namespace vfm::mock
