#include "transfer_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "clock.h"
#include "crc32c.h"

namespace vfm {

void Buffer::Reserve(size_t prefix, size_t bytes, size_t used) {
  if (bytes <= capacity_) return;
  // In whole pages, as aligned_alloc wants it.
  const size_t size = (prefix + bytes + kPage - 1) / kPage * kPage;
  std::unique_ptr<uint8_t[], Free> grown(static_cast<uint8_t*>(aligned_alloc(kPage, size)));
  if (!grown) throw std::bad_alloc();
  if (used != 0) memcpy(grown.get() + prefix, payload(), used);
  memory_ = std::move(grown);
  prefix_ = prefix;
  capacity_ = size - prefix;
}

TransferReader::TransferReader(const TransferSpec& spec, Port port) : spec_(spec), port_(std::move(port)) {
  result_.offset = spec.offset;
  result_.crc = spec.crc;
}

long TransferReader::Read(Interruptible& thread, uint8_t* buffer, size_t length) {
  const long got = port_.Read(thread, buffer, length);
  if (got > 0 && result_.first_byte_ns == 0) result_.first_byte_ns = MonotonicNs();
  return got;
}

long TransferReader::ReadFully(Interruptible& thread, uint8_t* buffer, size_t length) {
  size_t have = 0;
  while (have < length) {
    const long got = Read(thread, buffer + have, length - have);
    if (got < 0) return got;
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  return static_cast<long>(have);
}

bool TransferReader::Fail(const char* code) {
  error_ = {.code = code, .side = TransferSide::kSource};
  return false;
}

bool TransferReader::FailErrno(long result) {
  // An interrupted read has no error of its own: whoever interrupted it knows why.
  if (result == kInterrupted) return Fail("ERR_CANCELED");
  error_ = {.error = static_cast<int>(-result), .syscall = "read", .side = TransferSide::kSource};
  return false;
}

namespace {

// A data fd or bare bytes, made into frames when the sink wants frames.
class ByteReader final : public TransferReader {
 public:
  ByteReader(const TransferSpec& spec, Port port)
      : TransferReader(spec, std::move(port)),
        framed_(spec.sink.kind == SinkKind::kFrames),
        unit_(framed_ ? spec.frame_size : kUnit),
        left_(spec.limit.value_or(UINT64_MAX)) {}

  bool Fill(Interruptible& thread, Slot& slot) override {
    slot.buffer.Reserve(framed_ ? kDataPrefixSize : 0, framed_ ? spec_.frame_size : kUnit, 0);
    const size_t room = std::min<uint64_t>(unit_, left_);
    while (!slot.last && slot.bytes < room) {
      const long got = Read(thread, slot.buffer.payload() + slot.bytes, room - slot.bytes);
      if (got > 0) {
        slot.bytes += static_cast<size_t>(got);
      } else if (got == 0) {
        End(slot, TransferEnd::kZero);
      } else if (got == -ENOMSG && spec_.source.kind == SourceKind::kDataFd) {
        End(slot, TransferEnd::kEnomsg);
      } else {
        return FailErrno(got);
      }
    }
    if (spec_.limit) left_ -= slot.bytes;
    if (!slot.last && left_ == 0) End(slot, TransferEnd::kLimit);
    slot.offset = result_.offset;
    result_.offset += slot.bytes;
    return true;
  }

  void SetFrameSize(uint32_t bytes) override {
    if (framed_) unit_ = bytes;
  }

  // Makes a frame of the bytes, and hashes each once: the section's CRC and the file's are both put together
  // from the bytes' own.
  void Seal(Slot& slot) const override {
    if (!framed_ || slot.bytes == 0) return;
    const auto bytes = static_cast<uint32_t>(slot.bytes);
    const FrameHeader frame = {spec_.stream, *spec_.phase, slot.offset};
    uint8_t* prefix = slot.buffer.payload() - kDataPrefixSize;
    const uint32_t payload_crc =
        EncodeDataPrefix(frame, bytes, Crc32c(0, slot.buffer.payload(), slot.bytes), prefix);
    slot.crc =
        Crc32cCombine(Crc32c(0, prefix, kSectionHeaderSize), payload_crc, kFrameHeaderSize + uint64_t{bytes});
    slot.prefix = kDataPrefixSize;
  }

  void Count(const Slot& slot) override {
    if (slot.prefix == 0) return;
    result_.crc = Crc32cCombine(result_.crc, slot.crc, slot.prefix + slot.bytes);
    result_.frames += 1;
  }

 private:
  void End(Slot& slot, TransferEnd end) {
    slot.last = true;
    result_.end = end;
  }

  const bool framed_;
  size_t unit_;
  uint64_t left_;
};

// DATA sections of a state file. Bytes get into a slot only after their frame's checksum is known to be
// right; several small frames share a slot, so that a data fd sees no small writes.
class FrameReader final : public TransferReader {
 public:
  FrameReader(const TransferSpec& spec, Port port)
      : TransferReader(spec, std::move(port)), given_(spec.source.header) {}

  bool Fill(Interruptible& thread, Slot& slot) override {
    while (!slot.last && slot.bytes < kUnit) {
      if (!TakeFrame(thread, slot)) return false;
    }
    return true;
  }

 private:
  // From what was read already, then from the source.
  long ReadHeader(Interruptible& thread, uint8_t* out, size_t length) {
    const size_t known = std::min(length, given_.size());
    std::copy_n(given_.begin(), known, out);
    given_.erase(given_.begin(), given_.begin() + static_cast<long>(known));
    const long got = known < length ? ReadFully(thread, out + known, length - known) : 0;
    return got < 0 ? got : static_cast<long>(known) + got;
  }

  // A frame's bytes, and as much of the section header behind them as is there already: each read of a pipe
  // waits for a write of its other end.
  long ReadPayload(Interruptible& thread, uint8_t* buffer, size_t length) {
    size_t have = 0;
    while (have < length) {
      const long got = Read(thread, buffer + have, length + kSectionHeaderSize - have);
      if (got < 0) return got;
      if (got == 0) return static_cast<long>(have);
      have += static_cast<size_t>(got);
    }
    given_.assign(buffer + length, buffer + have);
    return static_cast<long>(length);
  }

  bool Truncated(long got) { return got < 0 ? FailErrno(got) : Fail("ERR_FRAME_TRUNCATED"); }

  bool End(Slot& slot, TransferEnd end, const uint8_t* header, size_t length) {
    slot.last = true;
    result_.end = end;
    result_.header.assign(header, header + length);
    return true;
  }

  // One section: appended to the slot, or the end.
  bool TakeFrame(Interruptible& thread, Slot& slot) {
    uint8_t prefix[kDataPrefixSize];
    long got = ReadHeader(thread, prefix, kSectionHeaderSize);
    if (got == 0) return End(slot, TransferEnd::kZero, prefix, 0);
    if (got != static_cast<long>(kSectionHeaderSize)) return Truncated(got);
    SectionHeader section;
    if (!DecodeSectionHeader(prefix, &section)) return Fail("ERR_FRAME_HEADER");
    if (section.type != kSectionTypeData) return End(slot, TransferEnd::kHeader, prefix, kSectionHeaderSize);
    if (!IsPossibleDataSection(section)) return Fail("ERR_FRAME_HEADER");

    uint8_t* frame_bytes = prefix + kSectionHeaderSize;
    got = ReadHeader(thread, frame_bytes, kFrameHeaderSize);
    if (got != static_cast<long>(kFrameHeaderSize)) return Truncated(got);
    const FrameHeader frame = DecodeFrameHeader(frame_bytes);
    if (frame.stream != spec_.stream && spec_.source.hop) return Hop(section, prefix);
    if (frame.stream != spec_.stream || (spec_.phase && frame.phase != *spec_.phase)) {
      return End(slot, TransferEnd::kHeader, prefix, kDataPrefixSize);
    }

    const auto bytes = static_cast<size_t>(section.length - kFrameHeaderSize);
    slot.buffer.Reserve(0, std::max(slot.bytes + bytes, kUnit) + kSectionHeaderSize, slot.bytes);
    uint8_t* payload = slot.buffer.payload() + slot.bytes;
    got = ReadPayload(thread, payload, bytes);
    if (got != static_cast<long>(bytes)) return Truncated(got);
    if (Crc32c(Crc32c(0, frame_bytes, kFrameHeaderSize), payload, bytes) != section.payload_crc) {
      return Fail("ERR_FRAME_CRC");
    }
    // After the checksum, because that covers phase and offset: damage and a wrong frame are told apart.
    if (!spec_.phase && !IsPhase(frame.phase)) return Fail("ERR_FRAME_PHASE");
    if (frame.offset != result_.offset || bytes > UINT64_MAX - result_.offset) return Fail("ERR_FRAME_ORDER");

    result_.crc =
        Crc32cCombine(Crc32c(result_.crc, prefix, kSectionHeaderSize), section.payload_crc, section.length);
    result_.frames += 1;
    result_.offset += bytes;
    slot.bytes += bytes;
    return true;
  }

  // A frame of another stream, whose prefix was read. A file that ends within it gives nothing to the next
  // read.
  bool Hop(const SectionHeader& section, const uint8_t* prefix) {
    const uint64_t bytes = section.length - kFrameHeaderSize;
    if (const long result = Skip(bytes); result < 0) return FailErrno(result);
    result_.crc =
        Crc32cCombine(Crc32c(result_.crc, prefix, kSectionHeaderSize), section.payload_crc, section.length);
    result_.hopped_bytes += bytes;
    result_.hopped_frames += 1;
    return true;
  }

  std::vector<uint8_t> given_;
};

}  // namespace

std::unique_ptr<TransferReader> TransferReader::Create(const TransferSpec& spec, Port port) {
  if (spec.source.kind == SourceKind::kFrames) return std::make_unique<FrameReader>(spec, std::move(port));
  return std::make_unique<ByteReader>(spec, std::move(port));
}

}  // namespace vfm
