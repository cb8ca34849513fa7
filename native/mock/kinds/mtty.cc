// The kernel's sample driver mtty, as it behaves (uAPI §5): its registers, its stream, its checks, and what
// it forgets and does not forget.
#include <algorithm>
#include <cstring>
#include <optional>

#include "mock/device.h"
#include "mock/driver.h"
#include "mock/irqs.h"
#include "mock/kinds/mtty_state.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

constexpr uint64_t kMagic = 0x7e9d09898c3e2c4eull;
constexpr size_t kConfigSize = 0xff;
constexpr size_t kBarSize = 8;
constexpr uint32_t kRegions = 9, kIrqs = 5;

struct MttyHeader {
  uint64_t magic;
  uint32_t major, minor, ports, flags;
};
static_assert(sizeof(MttyHeader) == 24);

struct MttyStream {
  MttyHeader header;
  UartState ports[2];
};
static_assert(sizeof(MttyStream) == 96);

class MttySave : public SaveFile {
 public:
  MttySave(Driver& driver, uint32_t ports) : SaveFile(driver, "mtty_mig") {
    data_.header = {kMagic, 1, 0, ports, 0};
  }
  // STOP_COPY was entered.
  void Append(const UartState* ports, size_t n) {
    std::lock_guard hold(lock_);
    memcpy(data_.ports, ports, n * sizeof *ports);
    filled_ = sizeof data_.header + n * sizeof *ports;
    complete_ = true;
  }

 protected:
  uint64_t Filled() const override { return filled_; }
  bool Complete() const override { return complete_; }
  void CopyOut(uint64_t pos, uint8_t* out, size_t n) override {
    memcpy(out, reinterpret_cast<const uint8_t*>(&data_) + pos, n);
  }
  void PrecopyBytes(uint64_t& initial, uint64_t& dirty) const override {
    initial = filled_ - pos_;
    dirty = 0;
  }

 private:
  MttyStream data_{};
  uint64_t filled_ = sizeof data_.header;
  bool complete_ = false;
};

class MttyLoad : public LoadFile {
 public:
  MttyLoad(Driver& driver, uint32_t ports) : LoadFile(driver, "mtty_mig"), ports_(ports) {}

  // False when bytes are missing.
  bool Get(UartState* ports) {
    std::lock_guard hold(lock_);
    if (pos_ < Limit()) return false;
    memcpy(ports, data_.ports, ports_ * sizeof *ports);
    return true;
  }

 protected:
  // The length is looked at before the session is.
  int Refuses(size_t n) const override {
    uint64_t at = disabled_ ? 0 : pos_;
    return at + n > Limit() || at + n < n ? -ENOMEM : 0;
  }
  // Bytes count even when the header is refused: a later write goes on behind them.
  ssize_t Take(const uint8_t* bytes, size_t n) override {
    if (int e = Refuses(n); e != 0) return e;
    memcpy(reinterpret_cast<uint8_t*>(&data_) + pos_, bytes, n);
    bool crosses = pos_ < sizeof data_.header && pos_ + n >= sizeof data_.header;
    pos_ += n;
    const MttyHeader& h = data_.header;
    bool good = h.magic == kMagic && h.major == 1 && h.minor == 0 && h.ports == ports_ && h.flags == 0;
    return crosses && !good ? -EFAULT : static_cast<ssize_t>(n);
  }

 private:
  uint64_t Limit() const { return sizeof data_.header + ports_ * sizeof(UartState); }
  const uint32_t ports_;
  MttyStream data_{};
};

class MttyDriver : public Driver {
 public:
  explicit MttyDriver(Device& device)
      : Driver(device), nports_(device.config()->ports), store_(device.mock().state_dir, device.address()) {
    for (UartState& p : ports_) p.max_fifo_size = sizeof p.fifo;
    MakeConfigSpace();
  }

  uint64_t DataSize() const override { return sizeof(MttyHeader) + nports_ * sizeof(UartState); }

  int Claim() override {
    if (int e = store_.Lock(); e != 0) return e;
    int e = LoadStored();
    if (e == 0)
      claimed_ = true;
    else
      store_.Unlock();
    return e;
  }
  void Unclaim() override {
    claimed_ = false;
    store_.Unlock();
  }

  long Ioctl(Call&, unsigned long request, uintptr_t arg) override {
    switch (request) {
      case uapi::kDeviceGetInfo:
        return GetInfo(arg);
      case uapi::kDeviceGetRegionInfo:
        return GetRegionInfo(arg);
      case uapi::kDeviceGetIrqInfo:
        return GetIrqInfo(arg);
      case uapi::kDeviceSetIrqs:
        return SetIrqs(arg);
      default:
        return -ENOTTY;
    }
  }

  ssize_t ReadRegions(void* buf, size_t len, int64_t pos) override {
    if (!UserCanWrite(buf, len)) return -EFAULT;
    return Pieces(len, pos, [&](size_t done, size_t piece, uint64_t index, uint64_t offset) {
      uint8_t bytes[4] = {};
      if (index == uapi::kPciConfigRegionIndex)
        memcpy(bytes, config_ + offset,
               offset < sizeof config_ ? std::min(piece, sizeof config_ - offset) : 0);
      else if (index < 2)
        bytes[0] = UartRead(ports_[index], offset);
      memcpy(static_cast<uint8_t*>(buf) + done, bytes, piece);
    });
  }

  ssize_t WriteRegions(const void* buf, size_t len, int64_t pos) override {
    if (!UserCanRead(buf, len)) return -EFAULT;
    ssize_t n = Pieces(len, pos, [&](size_t done, size_t piece, uint64_t index, uint64_t offset) {
      const uint8_t* bytes = static_cast<const uint8_t*>(buf) + done;
      if (index == uapi::kPciConfigRegionIndex)
        WriteConfig(offset, bytes, piece);
      else if (index < 2)
        UartWrite(ports_[index], offset, bytes[0]);
    });
    Changed();
    return n;
  }

  uint32_t StateNow() override {
    if (!claimed_ && store_.enabled()) LoadStored();
    return state_;
  }

  void Describe(json::Value& out) override {
    Driver::Describe(out);
    std::lock_guard hold(regs_lock_);
    std::string hex;
    for (size_t i = 0; i < nports_ * sizeof(UartState); i++) {
      char digits[3];
      snprintf(digits, sizeof digits, "%02x", reinterpret_cast<const uint8_t*>(ports_)[i]);
      hex += digits;
    }
    out.Set("ports", hex);
  }

 protected:
  int Step(uint32_t from, uint32_t to, FilePtr& file) override {
    using namespace uapi;
    if (from == kStateResuming) return Load();
    bool from_pre = from == kStatePreCopy || from == kStatePreCopyP2p;
    bool to_pre = to == kStatePreCopy || to == kStatePreCopyP2p;
    if (to == kStateStopCopy || (to_pre && !from_pre)) {
      Save(to, file);
    } else if (from == kStateStopCopy || (from_pre && !to_pre)) {
      DisableFiles();
    } else if (to == kStateResuming) {
      resuming_ = std::make_shared<MttyLoad>(*this, nports_);
      file = resuming_;
    }
    return 0;
  }

  void Changed() override {
    if (!store_.enabled()) return;
    MttyMemory memory;
    {
      std::lock_guard hold(regs_lock_);
      memory.state = state_;
      memcpy(memory.ports, ports_, sizeof ports_);
    }
    store_.Save(memory);
  }
  void Refresh() override {
    if (!claimed_ && store_.enabled()) LoadStored();
  }

 private:
  int LoadStored() {
    if (!store_.enabled()) return 0;
    MttyMemory memory;
    int e = store_.Load(memory);
    if (e == -ENOENT) return 0;
    if (e != 0) return e;
    std::lock_guard hold(regs_lock_);
    state_ = memory.state;
    memcpy(ports_, memory.ports, sizeof ports_);
    return 0;
  }

  void Save(uint32_t to, FilePtr& file) {
    if (saving_ == nullptr) {
      saving_ = std::make_shared<MttySave>(*this, nports_);
      file = saving_;
    }
    if (to != uapi::kStateStopCopy) return;
    std::lock_guard hold(regs_lock_);
    static_cast<MttySave&>(*saving_).Append(ports_, nports_);
  }

  // RESUMING is left. Without a session the driver follows a null pointer and dies.
  int Load() {
    if (resuming_ == nullptr) {
      crashed_ = true;
      return -EIO;
    }
    {
      std::lock_guard hold(regs_lock_);
      if (!static_cast<MttyLoad&>(*resuming_).Get(ports_)) return -EINVAL;
    }
    DisableFiles();
    return 0;
  }

  // Cuts an access into aligned pieces of 4, 2 or 1 bytes, as the driver does; `access` sees each.
  template <typename F>
  ssize_t Pieces(size_t len, int64_t pos, F access) {
    std::lock_guard hold(regs_lock_);
    size_t done = 0;
    while (done < len) {
      auto at = static_cast<uint64_t>(pos) + done;
      size_t left = len - done;
      size_t piece = left >= 4 && at % 4 == 0 ? 4 : left >= 2 && at % 2 == 0 ? 2 : 1;
      uint64_t index = at >> uapi::kPciOffsetShift;
      if (index > 5 && index != uapi::kPciConfigRegionIndex) return -EFAULT;
      access(done, piece, index, at & ((1ull << uapi::kPciOffsetShift) - 1));
      done += piece;
    }
    return static_cast<ssize_t>(done);
  }

  long GetInfo(uintptr_t arg) {
    uapi::DeviceInfo info;
    if (!CopyFromUser(&info, arg, uapi::kDeviceInfoMinSize)) return -EFAULT;
    if (info.argsz < uapi::kDeviceInfoMinSize) return -EINVAL;
    info.flags = uapi::kDeviceFlagsPci;
    info.num_regions = kRegions;
    info.num_irqs = kIrqs;
    info_asked_ = true;
    // Never more than 16 bytes: what the caller has behind them stays (uAPI §1.8).
    return CopyToUser(arg, &info, uapi::kDeviceInfoMinSize) ? 0 : -EFAULT;
  }

  long GetRegionInfo(uintptr_t arg) {
    uapi::RegionInfo info;
    if (!CopyFromUser(&info, arg, sizeof info)) return -EFAULT;
    if (info.argsz < sizeof info || info.index >= kRegions) return -EINVAL;
    info.size = info.index == uapi::kPciConfigRegionIndex ? kConfigSize : info.index < nports_ ? kBarSize : 0;
    info.offset = static_cast<uint64_t>(info.index) << uapi::kPciOffsetShift;
    info.flags = uapi::kRegionFlagsRead | uapi::kRegionFlagsWrite;
    return CopyToUser(arg, &info, sizeof info) ? 0 : -EFAULT;
  }

  // The driver compares with the number that its last GET_INFO gave, which nobody may have asked yet.
  long GetIrqInfo(uintptr_t arg) {
    uapi::IrqInfo info;
    if (!CopyFromUser(&info, arg, sizeof info)) return -EFAULT;
    if (info.argsz < sizeof info || info.index >= (info_asked_ ? kIrqs : 0)) return -EINVAL;
    // INTx and MSI.
    if (info.index > 1) return -EINVAL;
    info.flags = uapi::kIrqInfoEventfd | (info.index == 0 ? uapi::kIrqInfoMaskable | uapi::kIrqInfoAutomasked
                                                          : uapi::kIrqInfoNoresize);
    info.count = 1;
    return CopyToUser(arg, &info, sizeof info) ? 0 : -EFAULT;
  }

  // INTx or MSI, one at a time. The others are refused by the driver, not by the core.
  long SetIrqs(uintptr_t arg) {
    using namespace uapi;
    IrqRequest request;
    const uint32_t there = info_asked_ ? kIrqs : 0;
    if (int e = ReadIrqRequest(
            arg, [there](uint32_t) { return there; }, request);
        e != 0)
      return e;
    const auto& [argsz, flags, index, start, count] = request.head;
    if (index > kPciMsiIrqIndex) return -ENOTTY;
    std::lock_guard hold(irq_lock_);
    const bool mine = irq_ == index;
    if ((flags & kIrqSetActionTrigger) == 0) {
      if (index == kPciMsiIrqIndex) return -ENOTTY;
      if (!mine || start != 0 || count != 1) return -EINVAL;
      return (flags & kIrqSetDataEventfd) != 0 ? -ENOTTY : 0;
    }
    if (mine && count == 0 && (flags & kIrqSetDataNone) != 0) {
      irq_.reset();
      event_ = nullptr;
      return 0;
    }
    if ((irq_ && !mine) || start != 0 || count != 1) return -EINVAL;
    if ((flags & kIrqSetDataEventfd) != 0) {
      irq_.reset();
      if (int e = EventOf(device_.mock(), request, 0, event_); e != 0) return e;
      if (event_ != nullptr) irq_ = index;
      return 0;
    }
    if (!mine) return -EINVAL;
    if ((flags & kIrqSetDataBool) == 0 || request.data[0] != 0) event_->Signal();
    return 0;
  }

  void MakeConfigSpace() {
    struct {
      size_t at;
      std::string_view bytes;
    } const fields[] = {
        {0x00, std::string_view("\x48\x43\x53\x32", 4)},  // 4348:3253
        {0x04, std::string_view("\x01\x00\x00\x02", 4)},  // I/O on; status
        {0x08, std::string_view("\x10\x02\x00\x07", 4)},  // revision; 16550 serial
        {0x10, std::string_view("\x01", 1)},              // BAR0: I/O
        {0x14, std::string_view(nports_ == 2 ? "\x01" : "\x00", 1)},
        {0x2c, std::string_view("\x48\x43\x53\x32", 4)},
        {0x3d, std::string_view("\x01", 1)},  // INTA
        {0x40, std::string_view("\x23\x00\x00\x80\x23\x00\x00\x00\x23\x00\x00\x00\x23", 13)},
        {0x60, "PCI Serial/UART"},
    };
    for (const auto& f : fields) memcpy(config_ + f.at, f.bytes.data(), f.bytes.size());
  }

  void WriteConfig(uint64_t offset, const uint8_t* bytes, size_t n) {
    if (offset == 0x3c) config_[0x3c] = bytes[0];
    bool bar = offset == 0x10 || (offset == 0x14 && nports_ == 2);
    if (!bar || n < 4) return;
    uint32_t value;
    memcpy(&value, bytes, 4);
    if (value == 0xffffffff) value &= ~uint32_t{kBarSize} + 1;
    value |= config_[offset] & 3u;
    memcpy(config_ + offset, &value, 4);
  }

  const uint32_t nports_;
  MttyStore store_;
  std::atomic<bool> claimed_{false};
  std::atomic<bool> info_asked_{false};
  std::mutex regs_lock_;
  std::mutex irq_lock_;
  std::optional<uint32_t> irq_;
  std::shared_ptr<EventFile> event_;
  UartState ports_[2] = {};
  uint8_t config_[kConfigSize] = {};
};

}  // namespace

std::unique_ptr<Driver> MakeMtty(Device& device) {
  return std::make_unique<MttyDriver>(device);
}

}  // namespace vfm::mock
