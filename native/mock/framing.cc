#include "mock/framing.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vfm::mock {

namespace {

/* The drivers' headers; host byte order, which is theirs on every machine that has them. */

struct RecordHeader {
  uint64_t size;
  uint32_t flags;  // bit 0: optional
  uint32_t tag;
};
static_assert(sizeof(RecordHeader) == 16);
constexpr uint32_t kRecordOptional = 1;
constexpr uint32_t kTagImage = 0, kTagStopCopySize = 1;
constexpr uint64_t kRecordMost = UINT32_MAX;
// As mlx5 cuts images that are larger than this.
constexpr uint64_t kRecordPiece = 8ull << 20;

struct HisiMatch {
  uint64_t magic = 0xaaccfeeddecadede;
  uint32_t queues = 32;
  uint32_t device = 0;
  uint32_t isolation = 0;
  uint32_t first_queue = 0;
  uint32_t state = 0;
  uint16_t major = 1, minor = 0;
  uint32_t reserved[2] = {};
};
static_assert(sizeof(HisiMatch) == 40);
constexpr uint64_t kHisiMagicV1 = 0xcdcdcdcdfeedaacc;
constexpr uint32_t kHisiReady = 0, kHisiNotReady = 1;
constexpr uint64_t kHisiSize = 176;

struct QatPreamble {
  uint32_t magic = 0xadf5caea;
  uint32_t version = 1;
  uint16_t length = 16;
  uint16_t sections = 0;
  uint32_t size = 0;  // of the sections
};
static_assert(sizeof(QatPreamble) == 16);
struct QatSection {
  char id[8] = {};
  uint32_t size = 0;  // of what follows, sub-sections with their headers included
  uint32_t subsections = 0;
};
static_assert(sizeof(QatSection) == 16);
constexpr size_t kQatSize = 4096;
constexpr const char* kQatImageSection = "ETRBAR";
constexpr uint32_t kQatBanks = 4;

struct PacketHeader {
  uint8_t version = 1;
  uint8_t type = 0;
  uint8_t tile = 0, gt = 0;
  uint32_t flags = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
};
static_assert(sizeof(PacketHeader) == 24);
enum PacketType : uint8_t { kDescriptor = 1, kTrailer, kGgtt, kMmio, kGuc, kVram, kPacketTypes };
constexpr uint64_t kPacketMost = 512ull << 20;
constexpr uint32_t kKlvDevice = 0xf0010001, kKlvRevision = 0xf0020001;  // key << 16 | dwords

template <class T>
std::string Bytes(const T& header) {
  return {reinterpret_cast<const char*>(&header), sizeof header};
}

uint32_t Id(const DeviceConfig& config, const char* name) {
  return static_cast<uint32_t>(strtoul(config.ids.at(name).c_str(), nullptr, 16));
}

// A section's header, with its content still to follow.
std::string QatHead(const char* id, uint64_t size, uint32_t subsections) {
  QatSection section{.size = static_cast<uint32_t>(size), .subsections = subsections};
  strncpy(section.id, id, sizeof section.id - 1);
  return Bytes(section);
}

std::string Section(const char* id, const std::string& content, uint32_t subsections = 0) {
  return QatHead(id, content.size(), subsections) + content;
}

std::string Preamble(size_t size, uint16_t sections) {
  return Bytes(QatPreamble{.sections = sections, .size = static_cast<uint32_t>(size)});
}

// What a target has to be capable of.
std::string QatSetup() {
  const std::string config = Section("gencap", std::string(4, '\x7f')) +
                             Section("svcmap", std::string(4, '\2')) + Section("extdc", std::string(4, '\0'));
  const std::string body = Section("CONFIG", config, 3);
  return Preamble(body.size(), 1) + body;
}

// Where a bank's registers are in an image of `size` bytes.
uint64_t QatBankStart(uint32_t bank, uint64_t size) {
  return size * bank / kQatBanks;
}

std::string Packet(uint8_t type, const std::string& content, uint64_t offset = 0) {
  return Bytes(PacketHeader{.type = type, .offset = offset, .size = content.size()}) + content;
}

std::string Descriptor(const DeviceConfig& config) {
  const uint32_t klvs[] = {kKlvDevice, Id(config, "device"), kKlvRevision, Id(config, "revision")};
  return Packet(kDescriptor, Bytes(klvs));
}

}  // namespace

void Stream::Add(Piece piece) {
  if (piece.size == 0) return;
  piece.start = size_;
  size_ += piece.size;
  pieces_.push_back(std::move(piece));
}

void Stream::Literal(std::string bytes) {
  const uint64_t size = bytes.size();
  Add({0, size, std::move(bytes), nullptr, 0});
}

void Stream::Part(std::shared_ptr<const Payload> payload, uint64_t offset, uint64_t size) {
  Add({0, size, "", std::move(payload), offset});
}

void Stream::Read(uint64_t pos, uint8_t* out, size_t n) const {
  auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), pos,
                                [](uint64_t at, const Piece& p) { return at < p.start + p.size; });
  for (; n > 0; ++piece) {
    const uint64_t from = pos - piece->start;
    const auto step = static_cast<size_t>(std::min<uint64_t>(n, piece->size - from));
    if (piece->payload != nullptr)
      piece->payload->Read(piece->offset + from, out, step);
    else
      memcpy(out, piece->bytes.data() + from, step);
    pos += step;
    out += step;
    n -= step;
  }
}

void Framer::Begin() {
  const MigrationKnobs& k = config_.knobs;
  switch (k.framing) {
    case Framing::Plain:
      return;
    case Framing::Records: {
      if (!k.stop_copy_hint) return;
      const uint64_t size = k.data_size.value_or(k.size);
      stream_.Literal(Bytes(RecordHeader{sizeof size, kRecordOptional, kTagStopCopySize}) + Bytes(size));
      return;
    }
    case Framing::Hisi: {
      HisiMatch match;
      match.device = Id(config_, "device");
      match.state = k.guest_driver ? kHisiReady : kHisiNotReady;
      stream_.Literal(Bytes(match));
      return;
    }
    case Framing::Qat:
      stream_.Literal(QatSetup());
      return;
    case Framing::Packets:
      stream_.Literal(Descriptor(config_));
      stream_.Literal(Packet(kGgtt, std::string(64, '\3')) + Packet(kMmio, std::string(32, '\5')) +
                      Packet(kGuc, std::string(48, '\7')));
      return;
  }
}

void Framer::Add(const std::shared_ptr<const Payload>& payload) {
  const uint64_t size = payload->size;
  switch (config_.knobs.framing) {
    case Framing::Plain:
      stream_.Part(payload, 0, size);
      return;
    case Framing::Hisi:
      if (config_.knobs.guest_driver) stream_.Part(payload, 0, size);
      return;
    case Framing::Records:
      for (uint64_t at = 0; at < size; at += kRecordPiece) {
        const uint64_t piece = std::min(kRecordPiece, size - at);
        stream_.Literal(Bytes(RecordHeader{piece, 0, kTagImage}));
        stream_.Part(payload, at, piece);
      }
      return;
    case Framing::Qat:
      AddQatState(payload);
      return;
    case Framing::Packets:
      for (uint64_t at = 0; at < size; at += kPacketMost) {
        const uint64_t piece = std::min(kPacketMost, size - at);
        stream_.Literal(Bytes(PacketHeader{.type = kVram, .offset = at, .size = piece}));
        stream_.Part(payload, at, piece);
      }
      return;
  }
}

// General state, interrupt registers, and the image as the rings' registers, bank by bank.
void Framer::AddQatState(const std::shared_ptr<const Payload>& payload) {
  const std::string general = Section("iovinit", std::string(4, '\1')) + Section("compver", "\1") +
                              Section("sla", std::string(16, '\0'));
  const std::string misc = Section("visrc", std::string(4, '\0')) + Section("vimsk", std::string(4, '\1'));
  const std::string before = Section("GENER", general, 3) + Section("MISCBAR", misc, 2);
  const uint64_t rings = payload->size + uint64_t{kQatBanks} * 2 * sizeof(QatSection);
  stream_.Literal(Preamble(before.size() + sizeof(QatSection) + rings, 3) + before +
                  QatHead(kQatImageSection, rings, kQatBanks));
  for (uint32_t bank = 0; bank < kQatBanks; bank++) {
    const uint64_t at = QatBankStart(bank, payload->size);
    const uint64_t size = QatBankStart(bank + 1, payload->size) - at;
    const char id[] = {'b', 'n', 'k', static_cast<char>('0' + bank), '\0'};
    stream_.Literal(QatHead(id, sizeof(QatSection) + size, 1) + QatHead("mregs", size, 0));
    stream_.Part(payload, at, size);
  }
}

void Framer::End() {
  if (config_.knobs.framing == Framing::Packets) stream_.Literal(Packet(kTrailer, ""));
  if (config_.knobs.framing == Framing::Qat && stream_.size() < kQatSize)
    stream_.Literal(std::string(kQatSize - stream_.size(), '\0'));
}

namespace {

class PlainUnframer : public Unframer {
 public:
  explicit PlainUnframer(Loader& loader) : loader_(loader) {}
  int Take(const uint8_t* bytes, size_t n) override { return loader_.Take(bytes, n); }

 private:
  Loader& loader_;
};

// A header of a fixed size, then as many bytes as it says, again and again.
template <class Header>
class HeadedUnframer : public Unframer {
 public:
  explicit HeadedUnframer(Loader& loader) : loader_(loader) {}

  int Take(const uint8_t* bytes, size_t n) override {
    while (n > 0 && broken_ == 0) {
      size_t step;
      if (have_ < sizeof(Header)) {
        step = std::min(n, sizeof(Header) - have_);
        memcpy(reinterpret_cast<uint8_t*>(&header_) + have_, bytes, step);
        have_ += step;
        if (have_ == sizeof(Header)) {
          left_ = header_.size;
          broken_ = Head(header_);
        }
      } else {
        step = static_cast<size_t>(std::min<uint64_t>(n, left_));
        broken_ = Content(header_, bytes, step);
        left_ -= step;
      }
      if (broken_ == 0 && have_ == sizeof(Header) && left_ == 0) {
        broken_ = Done(header_);
        have_ = 0;
      }
      bytes += step;
      n -= step;
    }
    return broken_;
  }

 protected:
  virtual int Head(const Header& header) = 0;
  virtual int Content(const Header& header, const uint8_t* bytes, size_t n) = 0;
  virtual int Done(const Header&) { return 0; }
  bool between() const { return have_ == 0; }
  Loader& loader_;

 private:
  Header header_{};
  size_t have_ = 0;
  uint64_t left_ = 0;
  int broken_ = 0;
};

class RecordUnframer : public HeadedUnframer<RecordHeader> {
 public:
  RecordUnframer(const DeviceConfig& config, Loader& loader)
      : HeadedUnframer(loader), knows_hint_(config.knobs.stop_copy_hint) {}

 protected:
  int Head(const RecordHeader& header) override {
    if (header.size > kRecordMost) return -ENOMEM;
    const bool known = header.tag == kTagImage || (header.tag == kTagStopCopySize && knows_hint_);
    return known || (header.flags & kRecordOptional) != 0 ? 0 : -EOPNOTSUPP;
  }
  int Content(const RecordHeader& header, const uint8_t* bytes, size_t n) override {
    return header.tag == kTagImage ? loader_.Take(bytes, n) : 0;
  }

 private:
  const bool knows_hint_;
};

class PacketUnframer : public HeadedUnframer<PacketHeader> {
 public:
  PacketUnframer(const DeviceConfig& config, Loader& loader) : HeadedUnframer(loader), config_(config) {}

  int Finish() override { return ended_ && between() ? 0 : -EINVAL; }

 protected:
  int Head(const PacketHeader& header) override {
    if (header.version != 1 || header.type == 0 || header.type >= kPacketTypes || ended_) return -EINVAL;
    if (header.size > kPacketMost) return -ENOMEM;
    if (header.type == kDescriptor && header.size % 4 != 0) return -EINVAL;
    klvs_.clear();
    return 0;
  }
  int Content(const PacketHeader& header, const uint8_t* bytes, size_t n) override {
    if (header.type == kVram) return loader_.Take(bytes, n);
    if (header.type == kDescriptor) klvs_.append(reinterpret_cast<const char*>(bytes), n);
    return klvs_.size() > 4096 ? -EINVAL : 0;
  }
  int Done(const PacketHeader& header) override {
    if (header.type == kTrailer) ended_ = true;
    return header.type == kDescriptor ? CheckDescriptor() : 0;
  }

 private:
  int CheckDescriptor() const {
    std::vector<uint32_t> words(klvs_.size() / 4);
    memcpy(words.data(), klvs_.data(), words.size() * 4);
    for (size_t at = 0; at < words.size();) {
      const uint32_t klv = words[at], length = klv & 0xffff;
      if (at + 1 + length > words.size()) return -EINVAL;
      if (klv == kKlvDevice && words[at + 1] != Id(config_, "device")) return -ENODEV;
      if (klv == kKlvRevision && words[at + 1] != Id(config_, "revision")) return -ENODEV;
      at += 1 + length;
    }
    return 0;
  }

  const DeviceConfig config_;
  std::string klvs_;
  bool ended_ = false;
};

// Collects the whole block, which is small.
class BlockUnframer : public Unframer {
 public:
  BlockUnframer(Loader& loader, size_t size) : loader_(loader), size_(size) {}
  int Refuses(uint64_t pos, size_t n) const override { return pos + n > size_ ? -ENOMEM : 0; }
  int Take(const uint8_t* bytes, size_t n) override {
    have_.append(reinterpret_cast<const char*>(bytes), n);
    return Look();
  }

 protected:
  virtual int Look() = 0;
  template <class T>
  T At(size_t offset) const {
    T value;
    memcpy(&value, have_.data() + offset, sizeof value);
    return value;
  }
  void Load(size_t from, size_t n) { loader_.Take(reinterpret_cast<const uint8_t*>(have_.data()) + from, n); }

  Loader& loader_;
  const size_t size_;
  std::string have_;
};

// Looks at the match data and at nothing else; what it has refused it takes all the same, and refuses again.
class HisiUnframer : public BlockUnframer {
 public:
  HisiUnframer(const DeviceConfig& config, bool matched, Loader& loader)
      : BlockUnframer(loader, kHisiSize),
        device_(Id(config, "device")),
        errno_(config.knobs.mismatch_errno),
        matched_(matched) {}

  bool Nothing() const override { return have_.size() == sizeof(HisiMatch); }
  bool Matched() const override { return matched_; }
  int Finish() override {
    if (Nothing()) return 0;
    if (have_.size() < kHisiSize) return -EINVAL;
    Load(sizeof(HisiMatch), kHisiSize - sizeof(HisiMatch));
    return 0;
  }

 protected:
  int Look() override {
    if (matched_ || have_.size() < sizeof(HisiMatch)) return 0;
    const auto match = At<HisiMatch>(0);
    const HisiMatch wanted;
    const bool version =
        match.magic == wanted.magic ? match.major == wanted.major : match.magic == kHisiMagicV1;
    if (!version || match.device != device_ || match.queues != wanted.queues ||
        match.isolation != wanted.isolation)
      return -errno_;
    matched_ = true;
    return 0;
  }

 private:
  const uint32_t device_;
  const int errno_;
  bool matched_;
};

class QatUnframer : public BlockUnframer {
 public:
  QatUnframer(const DeviceConfig& config, Loader& loader)
      : BlockUnframer(loader, kQatSize), errno_(config.knobs.mismatch_errno) {}

  int Finish() override {
    size_t at = 0;
    for (int part = 0; part < 2; part++) {
      if (!Known(at)) return -EINVAL;
      const auto preamble = At<QatPreamble>(at);
      at += preamble.length;
      if (int e = Sections(at, have_.size(), preamble.sections); e != 0) return e;
    }
    return 0;
  }

 protected:
  // The setup is looked at as soon as it is there.
  int Look() override {
    if (have_.size() < sizeof(QatPreamble)) return 0;
    if (!Known(0) || At<QatPreamble>(0).size > kQatSize) return -errno_;
    return 0;
  }

 private:
  bool Known(size_t at) const {
    if (at + sizeof(QatPreamble) > have_.size()) return false;
    const auto preamble = At<QatPreamble>(at);
    return preamble.magic == QatPreamble().magic && preamble.version == 1 &&
           preamble.length == sizeof preamble;
  }
  // Moves `at` behind `count` sections, and loads what banks hold.
  int Sections(size_t& at, size_t end, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
      if (at > end || sizeof(QatSection) > end - at) return -EINVAL;
      const auto section = At<QatSection>(at);
      at += sizeof section;
      if (section.size > end - at) return -EINVAL;
      const std::string_view id(section.id, strnlen(section.id, sizeof section.id));
      const size_t after = at + section.size;
      if (id == "mregs") Load(at, section.size);
      if (id == kQatImageSection || id.starts_with("bnk"))
        if (int e = Sections(at, after, section.subsections); e != 0) return e;
      at = after;
    }
    return 0;
  }
  const int errno_;
};

}  // namespace

std::unique_ptr<Unframer> Unframer::Create(const DeviceConfig& config, bool matched, Loader& loader) {
  switch (config.knobs.framing) {
    case Framing::Records:
      return std::make_unique<RecordUnframer>(config, loader);
    case Framing::Hisi:
      return std::make_unique<HisiUnframer>(config, matched, loader);
    case Framing::Qat:
      return std::make_unique<QatUnframer>(config, loader);
    case Framing::Packets:
      return std::make_unique<PacketUnframer>(config, loader);
    case Framing::Plain:
      break;
  }
  return std::make_unique<PlainUnframer>(loader);
}

}  // namespace vfm::mock
