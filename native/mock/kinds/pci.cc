// A generic vfio-pci variant device: reset at its first open and its last close, with state of any size
// (content.h). BAR 0 is a page of registers that make the state programmable:
//   0x00 u64 rw  seed of the content       0x08 u64 ro  size of a saved state in bytes
//   0x10 u64 ro  blocks that a load changed 0x18 u64 ro  resets since the mock was made
#include <algorithm>
#include <cstring>

#include "mock/config_space.h"
#include "mock/content.h"
#include "mock/device.h"
#include "mock/driver.h"
#include "mock/framing.h"
#include "mock/irqs.h"
#include "mock/mock.h"
#include "mock/user.h"
#include "mock/wait.h"
#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

constexpr size_t kConfigSize = ConfigSpace::kSize;
constexpr uint64_t kBarSize = 4096;
constexpr uint32_t kRegions = 9, kIrqs = uapi::kPciIrqCount;

// Contents that go into the stream in the driver's framing. A driver whose stream has room for one image
// makes it when the device has stopped, and offers what comes before it in PRE_COPY; the others make one at
// the start.
class PciSave : public SaveFile {
 public:
  PciSave(Driver& driver, const DeviceConfig& config, const Image& image, bool precopy)
      : SaveFile(driver, config.knobs.data_fd),
        config_(config),
        framer_(config, stream_),
        first_(image),
        last_(precopy && config.knobs.whole_first) {
    const MigrationKnobs& k = config.knobs;
    framer_.Begin();
    const uint64_t setup = stream_.size();
    if (!framer_.fixed()) AddImage(image);
    const uint64_t rest = stream_.size() - setup;
    initial_ = setup + (k.whole_first ? rest : std::min(k.initial_bytes, rest));
    precopy_ = initial_ + std::min(k.dirty_bytes, stream_.size() - initial_);
    reinits_ = k.reinit;
    dirty_since_ = pumped_ = MonotonicNs();
  }
  // STOP_COPY was entered: what changed since the session started follows as another image.
  void Finish(const Image& now) {
    std::lock_guard hold(lock_);
    const bool changed =
        now.seed != first_.seed || now.overlay != first_.overlay || now.valid != first_.valid;
    if (framer_.fixed() || changed)
      AddImage(now);
    else if (last_)
      AddIncrement(kImageHeader);
    framer_.End();
    complete_ = true;
  }

 protected:
  uint64_t Filled() const override { return complete_ ? stream_.size() : precopy_; }
  bool Complete() const override { return complete_; }
  void CopyOut(uint64_t pos, uint8_t* out, size_t n) override { stream_.Read(pos, out, n); }
  void PrecopyBytes(uint64_t& initial, uint64_t& dirty) const override {
    initial = initial_ - std::min(initial_, pos_);
    dirty = precopy_ - std::max(initial_, std::min(precopy_, pos_));
  }

  // Something new is looked for when everything was read; drivers with a pump look only when they are asked.
  bool Refill(bool asked) override {
    const MigrationKnobs& k = config_.knobs;
    if (complete_ || pos_ != precopy_ || precopy_ != stream_.size() || framer_.fixed()) return false;
    if (k.pump && !asked) return false;
    const uint64_t now = MonotonicNs();
    if (k.pump && now - pumped_ < k.pump_interval_ms * uint64_t{1000000}) return false;
    pumped_ = now;
    const bool again = reinits_ > 0;
    const double dirtied = static_cast<double>(k.dirty_rate) * static_cast<double>(now - dirty_since_) / 1e9;
    const auto dirty = static_cast<uint64_t>(std::min(dirtied, static_cast<double>(k.dirty_max)));
    if (!again && dirty == 0) return false;
    dirty_since_ = now;
    AddIncrement(kImageHeader + (again ? k.dirty_max : dirty));
    precopy_ = stream_.size();
    if (!again) return false;
    reinits_--;
    // Who has not asked for feature 12 cannot be told: for them it is dirty like anything else (uAPI §1.7).
    if (!driver_.device().precopy_info_v2()) return false;
    initial_ = precopy_;
    return true;
  }

 private:
  void AddImage(const Image& image) {
    framer_.Add(std::make_shared<const Payload>(image, sequence_++, config_.knobs.model));
  }
  void AddIncrement(uint64_t size) {
    Image increment;
    increment.increment = true;
    increment.size = size;
    increment.seed = sequence_;
    AddImage(increment);
  }

  const DeviceConfig config_;
  Stream stream_;
  Framer framer_;
  const Image first_;
  const bool last_;                     // STOP_COPY saves once more, whether anything changed or not
  uint64_t initial_ = 0, precopy_ = 0;  // ends, in the stream, of what PRE_COPY offers
  uint32_t sequence_ = 0;
  uint32_t reinits_ = 0;
  uint64_t dirty_since_ = 0, pumped_ = 0;
  bool complete_ = false;
};

class PciLoad : public LoadFile {
 public:
  PciLoad(Driver& driver, const DeviceConfig& config, uint64_t capacity, bool matched)
      : LoadFile(driver, config.knobs.data_fd),
        knobs_(config.knobs),
        loader_(config.knobs, capacity),
        unframer_(Unframer::Create(config, matched, loader_)) {}

  // 0 with the state that results, null when there is nothing to load; or a negated errno.
  int Finish(std::optional<Image>& out) {
    std::lock_guard hold(lock_);
    if (refused_ != 0) return refused_;
    if (int e = unframer_->Finish(); e != 0 && knobs_.checks != Checks::None) return e;
    if (unframer_->Nothing()) return 0;
    return loader_.Finish(out.emplace());
  }
  bool Matched() {
    std::lock_guard hold(lock_);
    return unframer_->Matched();
  }

 protected:
  // The end of a session puts the position back (hisi_acc, qat).
  int Refuses(size_t n) const override { return unframer_->Refuses(disabled_ ? 0 : pos_, n); }

  ssize_t Take(const uint8_t* bytes, size_t n) override {
    if (knobs_.max_stream != 0) {
      const uint64_t room = knobs_.max_stream - std::min(knobs_.max_stream, pos_);
      if (room == 0 && n > 0) return -EINVAL;
      n = static_cast<size_t>(std::min<uint64_t>(n, room));
    }
    int e = unframer_->Take(bytes, n);
    if (e != 0 && knobs_.verdict == Verdict::Stop) {
      refused_ = -knobs_.mismatch_errno;
      e = 0;
    }
    if (e != 0 && knobs_.after_error == AfterError::Dead) disabled_ = true;
    // Drivers that collect a block have taken what they refuse.
    if (e == 0 || knobs_.framing == Framing::Hisi || knobs_.framing == Framing::Qat) pos_ += n;
    return e != 0 ? e : static_cast<ssize_t>(n);
  }

 private:
  const MigrationKnobs knobs_;
  Loader loader_;
  const std::unique_ptr<Unframer> unframer_;
  int refused_ = 0;
};

class PciDriver : public Driver {
 public:
  explicit PciDriver(Device& device) : Driver(device) {
    FreshContents();
    resets_ = 0;
    FreshConfig();
  }

  uint64_t DataSize() const override {
    auto c = device_.config();
    std::lock_guard hold(content_lock_);
    return c->knobs.data_size.value_or(content_.size);
  }

  void OpenDevice() override {
    if (!device_.config()->knobs.match_once) matched_ = false;
    FreshConfig();
    if (device_.config()->reset.on_open) FullReset();
  }
  void CloseDevice() override {
    Driver::CloseDevice();
    low_power_ = false;
    irqs_.Clear();
    if (device_.config()->reset.on_open) FullReset();
  }

  long Ioctl(Call&, unsigned long request, uintptr_t arg) override {
    // Any request wakes the device up.
    low_power_ = false;
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

  // What vfio-pci-core answers: low power, and the token of a PF (uAPI §1.8).
  long Feature(Call&, uint32_t flags, uintptr_t payload, size_t size) override {
    switch (flags & uapi::kFeatureMask) {
      case uapi::kFeaturePciVfToken: {
        if (device_.config()->vf_token.empty()) return -ENOTTY;
        int c = CheckFeature(flags, size, uapi::kFeatureSet, 16);
        uint8_t token[16];
        return c != 1 ? c : CopyFromUser(token, payload, sizeof token) ? 0 : -EFAULT;
      }
      case uapi::kFeatureLowPowerEntry: {
        int c = CheckFeature(flags, size, uapi::kFeatureSet, 0);
        return c != 1 ? c : low_power_.exchange(true) ? -EINVAL : 0;
      }
      case uapi::kFeatureLowPowerEntryWithWakeup: {
        uapi::FeatureLowPowerEntryWithWakeup entry;
        if (int c = CheckFeature(flags, size, uapi::kFeatureSet, sizeof entry); c != 1) return c;
        if (!CopyFromUser(&entry, payload, sizeof entry)) return -EFAULT;
        if (entry.wakeup_eventfd < 0) return -EINVAL;
        return low_power_.exchange(true) ? -EINVAL : 0;
      }
      case uapi::kFeatureLowPowerExit: {
        int c = CheckFeature(flags, size, uapi::kFeatureSet, 0);
        if (c == 1) low_power_ = false;
        return c == 1 ? 0 : c;
      }
      default:
        return -ENOTTY;
    }
  }

  bool Request() override { return irqs_.Request(); }

  ssize_t ReadRegions(void* buf, size_t len, int64_t pos) override {
    uint64_t index, offset;
    ssize_t n = Place(pos, len, index, offset);
    if (n <= 0) return n;
    if (!UserCanWrite(buf, static_cast<size_t>(n))) return -EFAULT;
    std::lock_guard hold(content_lock_);
    if (index == uapi::kPciConfigRegionIndex) {
      memcpy(buf, config_.bytes() + offset, static_cast<size_t>(n));
    } else {
      uint8_t page[kBarSize] = {};
      Registers(page);
      memcpy(buf, page + offset, static_cast<size_t>(n));
    }
    return n;
  }

  ssize_t WriteRegions(const void* buf, size_t len, int64_t pos) override {
    uint64_t index, offset;
    ssize_t n = Place(pos, len, index, offset);
    if (n <= 0) return n;
    if (!UserCanRead(buf, static_cast<size_t>(n))) return -EFAULT;
    std::lock_guard hold(content_lock_);
    const auto* bytes = static_cast<const uint8_t*>(buf);
    if (index == uapi::kPciConfigRegionIndex) {
      config_.Write(offset, bytes, static_cast<size_t>(n));
      return n;
    }
    for (uint64_t i = 0; i < static_cast<uint64_t>(n); i++) {
      uint64_t at = offset + i;
      // Of the registers only the seed is writable.
      if (at < sizeof content_.seed) {
        reinterpret_cast<uint8_t*>(&content_.seed)[at] = bytes[i];
        content_.overlay.reset();
        content_.valid = UINT64_MAX;
      }
    }
    return n;
  }

  void Describe(json::Value& out) override {
    Driver::Describe(out);
    std::lock_guard hold(content_lock_);
    out.Set("seed", std::to_string(content_.seed));
    out.Set("size", std::to_string(content_.size));
    out.Set("valid", std::to_string(std::min(content_.valid, content_.size)));
    out.Set("changedBlocks",
            static_cast<uint64_t>(content_.overlay == nullptr ? 0 : content_.overlay->size()));
    out.Set("resets", resets_);
  }

 protected:
  int Step(uint32_t from, uint32_t to, FilePtr& file) override {
    using namespace uapi;
    auto saves = [](uint32_t s) {
      return s == kStatePreCopy || s == kStatePreCopyP2p || s == kStateStopCopy;
    };
    if (saves(to) && !saves(from)) {
      auto c = device_.config();
      std::lock_guard hold(content_lock_);
      saving_ = std::make_shared<PciSave>(*this, *c, content_, to != kStateStopCopy);
      file = saving_;
    }
    if (to == kStateStopCopy && saving_ != nullptr) {
      std::lock_guard hold(content_lock_);
      static_cast<PciSave&>(*saving_).Finish(content_);
    }
    if (from == kStateResuming) {
      if (int e = Load(); e != 0) return e;
    }
    const auto config = device_.config();
    if (config->knobs.cancel_errno != 0 && saves(from) && from != kStateStopCopy && !saves(to)) {
      DisableFiles();
      return -config->knobs.cancel_errno;
    }
    if (config->knobs.save_ends_logging && from == kStateStopCopy && to == kStateStop) log_.Stop();
    if (saves(from) && !saves(to)) DisableFiles();
    if (to == kStateResuming) {
      auto c = device_.config();
      std::lock_guard hold(content_lock_);
      resuming_ = std::make_shared<PciLoad>(*this, *c, content_.size, c->knobs.match_once && matched_);
      file = resuming_;
    }
    return 0;
  }

  void AfterReset() override { FreshContents(); }

 private:
  int Load() {
    if (resuming_ == nullptr) return -EINVAL;
    auto& load = static_cast<PciLoad&>(*resuming_);
    std::optional<Image> loaded;
    if (int e = load.Finish(loaded); e != 0) {
      if (device_.config()->knobs.refused_load_ends) DisableFiles();
      return e;
    }
    matched_ = matched_ || load.Matched();
    DisableFiles();
    std::lock_guard hold(content_lock_);
    if (loaded) content_ = std::move(*loaded);
    return 0;
  }

  void FullReset() {
    WithState([&](uint32_t) -> long {
      DisableFiles();
      state_ = uapi::kStateRunning;
      crashed_ = false;
      stopped_ = false;
      FreshContents();
      return 0;
    });
  }

  void FreshContents() {
    auto c = device_.config();
    std::lock_guard hold(content_lock_);
    content_ = {};
    content_.seed = c->knobs.seed;
    content_.size = c->knobs.size;
    resets_++;
  }

  void Registers(uint8_t* page) const {
    uint64_t changed = content_.overlay == nullptr ? 0 : content_.overlay->size();
    const uint64_t values[] = {content_.seed, content_.size, changed, resets_};
    memcpy(page, values, sizeof values);
  }

  // How many bytes an access moves, and where: vfio-pci cuts it at the end of a BAR but not of the
  // configuration space.
  static ssize_t Place(int64_t pos, size_t len, uint64_t& index, uint64_t& offset) {
    index = static_cast<uint64_t>(pos) >> uapi::kPciOffsetShift;
    offset = static_cast<uint64_t>(pos) & ((1ull << uapi::kPciOffsetShift) - 1);
    if (len == 0) return 0;
    if (index == uapi::kPciConfigRegionIndex) {
      if (offset >= kConfigSize || len > kConfigSize - offset) return -EFAULT;
      return static_cast<ssize_t>(len);
    }
    if (index != 0 || offset >= kBarSize) return -EINVAL;
    return static_cast<ssize_t>(std::min<uint64_t>(len, kBarSize - offset));
  }

  long GetInfo(uintptr_t arg) {
    uapi::DeviceInfo info{};
    if (!CopyFromUser(&info, arg, uapi::kDeviceInfoMinSize)) return -EFAULT;
    if (info.argsz < uapi::kDeviceInfoMinSize) return -EINVAL;
    size_t size = std::min<size_t>(info.argsz, sizeof info);
    info.flags = uapi::kDeviceFlagsPci | (device_.config()->reset.works ? uapi::kDeviceFlagsReset : 0);
    info.num_regions = kRegions;
    info.num_irqs = kIrqs;
    return CopyToUser(arg, &info, size) ? 0 : -EFAULT;
  }

  long GetRegionInfo(uintptr_t arg) {
    uapi::RegionInfo info{};
    if (!CopyFromUser(&info, arg, sizeof info)) return -EFAULT;
    constexpr uint32_t kVga = 8;
    if (info.argsz < sizeof info || info.index >= kVga) return -EINVAL;
    bool there = info.index == 0 || info.index == uapi::kPciConfigRegionIndex;
    info.size = info.index == 0 ? kBarSize : there ? kConfigSize : 0;
    info.offset = static_cast<uint64_t>(info.index) << uapi::kPciOffsetShift;
    info.flags = there ? uapi::kRegionFlagsRead | uapi::kRegionFlagsWrite : 0;
    return CopyToUser(arg, &info, sizeof info) ? 0 : -EFAULT;
  }

  // vfio_pci_get_irq_count.
  uint32_t IrqCount(uint32_t index) const {
    switch (index) {
      case uapi::kPciIntxIrqIndex:
      case uapi::kPciReqIrqIndex:
        return 1;
      case uapi::kPciMsiIrqIndex:
        return ConfigSpace::kMsiVectors;
      case uapi::kPciMsixIrqIndex:
        return ConfigSpace::kMsixVectors;
      default:
        return 0;
    }
  }

  long GetIrqInfo(uintptr_t arg) {
    using namespace uapi;
    IrqInfo info{};
    if (!CopyFromUser(&info, arg, sizeof info)) return -EFAULT;
    // Errors are told by PCI Express devices only.
    if (info.argsz < sizeof info || info.index >= kIrqs || info.index == kPciErrIrqIndex) return -EINVAL;
    info.count = IrqCount(info.index);
    info.flags = kIrqInfoEventfd |
                 (info.index == kPciIntxIrqIndex ? kIrqInfoMaskable | kIrqInfoAutomasked : kIrqInfoNoresize);
    return CopyToUser(arg, &info, sizeof info) ? 0 : -EFAULT;
  }

  long SetIrqs(uintptr_t arg) {
    const long done = irqs_.Set(device_.mock(), arg, [this](uint32_t index) { return IrqCount(index); });
    std::lock_guard hold(content_lock_);
    config_.SetEnabled(irqs_.Uses(uapi::kPciMsiIrqIndex), irqs_.Uses(uapi::kPciMsixIrqIndex));
    return done;
  }

  void FreshConfig() {
    auto c = device_.config();
    std::lock_guard hold(content_lock_);
    config_.Make(*c, kBarSize);
  }

  mutable std::mutex content_lock_;
  Image content_;
  uint64_t resets_ = 0;
  ConfigSpace config_;
  PciIrqs irqs_;
  std::atomic<bool> low_power_{false};
  bool matched_ = false;  // under the state's mutex
};

}  // namespace

std::unique_ptr<Driver> MakePci(Device& device) {
  return std::make_unique<PciDriver>(device);
}

}  // namespace vfm::mock
