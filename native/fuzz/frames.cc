// The decoder of DATA frames: arbitrary bytes as the source of a transfer. What it answers is compared with a
// decoder that is written here from docs/state-file.md alone, over the whole input at once.
//
// Input: one byte of options, one for the phase that is asked for, then the bytes of the file. With `repair`
// the checksums are made right first, without which hardly any input would get past the first section.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "target.h"
#include "vfio/crc32c.h"
#include "vfio/transfer.h"

namespace {

using Bytes = std::vector<uint8_t>;

enum Options : uint8_t {
  kRepairHeaders = 1 << 0,
  kRepairPayloads = 1 << 1,
  kSinkRaw = 1 << 2,
  kOnePhase = 1 << 3,
  kGiveSection = 1 << 4,  // the caller has read the section header already …
  kGiveFrame = 1 << 5,    // … and the frame header too
  kLateOffset = 1 << 6,   // the stream does not start at 0, but shortly before the greatest offset
  kFromPipe = 1 << 7,
};

// Small enough for a pipe, so that the input can be written before anybody reads.
constexpr size_t kMost = 60000;
constexpr uint64_t kLate = UINT64_MAX - 100;

uint64_t Le(const uint8_t* at, size_t bytes) {
  uint64_t value = 0;
  while (bytes-- > 0) value = value << 8 | at[bytes];
  return value;
}

void PutLe32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
}

void Repair(Bytes& file, bool payloads) {
  for (size_t at = 0; file.size() - at >= 24;) {
    uint8_t* header = file.data() + at;
    const uint64_t length = Le(header + 8, 8);
    const size_t rest = file.size() - at - 24;
    if (payloads && length <= rest) PutLe32(header + 16, vfm::Crc32c(0, header + 24, length));
    PutLe32(header + 20, vfm::Crc32c(0, header, 20));
    if (length > rest) return;
    at += 24 + length;
  }
}

// What the document says a reader makes of `file`.
struct Expected {
  std::string code;  // empty when it ends well
  size_t header = 0;
  size_t header_at = 0;
  Bytes payload;
  uint64_t frames = 0;
  uint64_t offset = 0;
  uint32_t crc = 0;
};

Expected Decode(const Bytes& file, bool one_phase, uint32_t wanted, uint64_t offset) {
  Expected is;
  is.offset = offset;
  const auto fail = [&](const char* code) {
    is.code = code;
    return is;
  };
  for (size_t at = 0;;) {
    const uint8_t* section = file.data() + at;
    const size_t rest = file.size() - at;
    is.header_at = at;
    if (rest == 0) return is;
    if (rest < 24) return fail("ERR_FRAME_TRUNCATED");
    if (Le(section + 20, 4) != vfm::Crc32c(0, section, 20)) return fail("ERR_FRAME_HEADER");
    if (std::string(section, section + 4) != "DATA") {
      is.header = 24;
      return is;
    }
    const uint64_t length = Le(section + 8, 8);
    if (Le(section + 4, 4) != 1 || length <= 16 || length > 16 + (uint64_t{16} << 20)) {
      return fail("ERR_FRAME_HEADER");
    }
    if (rest < 40) return fail("ERR_FRAME_TRUNCATED");
    const uint64_t phase = Le(section + 28, 4);
    if (Le(section + 24, 4) != 0 || (one_phase && phase != wanted)) {
      is.header = 40;
      return is;
    }
    if (rest - 24 < length) return fail("ERR_FRAME_TRUNCATED");
    if (Le(section + 16, 4) != vfm::Crc32c(0, section + 24, length)) return fail("ERR_FRAME_CRC");
    if (!one_phase && !vfm::IsPhase(static_cast<uint32_t>(phase))) return fail("ERR_FRAME_PHASE");
    const uint64_t bytes = length - 16;
    if (Le(section + 32, 8) != is.offset || is.offset + bytes < bytes) return fail("ERR_FRAME_ORDER");
    is.payload.insert(is.payload.end(), section + 40, section + 24 + length);
    is.offset += bytes;
    is.frames += 1;
    is.crc = vfm::Crc32c(is.crc, section, 24 + length);
    at += 24 + length;
  }
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) { REQUIRE(fd >= 0); }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

int SourceWith(const uint8_t* bytes, size_t size, bool pipe_wanted) {
  if (pipe_wanted) {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const ssize_t written = size == 0 ? 0 : write(ends[1], bytes, size);
    REQUIRE(written == static_cast<ssize_t>(size));
    close(ends[1]);
    return ends[0];
  }
  const int fd = memfd_create("input", MFD_CLOEXEC);
  REQUIRE(fd >= 0 && pwrite(fd, bytes, size, 0) == static_cast<ssize_t>(size));
  return fd;
}

Bytes Content(int fd) {
  Bytes all(static_cast<size_t>(lseek(fd, 0, SEEK_END)));
  REQUIRE(pread(fd, all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > kMost) return 0;
  const uint8_t options = data[0];
  const uint32_t wanted = data[1];
  Bytes file(data + 2, data + size);
  if (options & kRepairHeaders) Repair(file, options & kRepairPayloads);
  const bool one_phase = options & kOnePhase;
  const uint64_t start = options & kLateOffset ? kLate : 0;
  const Expected expected = Decode(file, one_phase, wanted, start);

  size_t given = options & kGiveFrame ? 40 : options & kGiveSection ? 24 : 0;
  if (given > file.size()) given = 0;
  // 40 bytes are given only of a section that a transfer has ended with before, which is DATA.
  if (given == 40 && std::string(file.begin(), file.begin() + 4) != "DATA") given = 24;

  const Descriptor source(SourceWith(file.data() + given, file.size() - given, options & kFromPipe));
  const Descriptor sink(memfd_create("output", MFD_CLOEXEC));
  vfm::TransferSpec spec;
  spec.source.kind = vfm::SourceKind::kFrames;
  spec.source.fd = source.get();
  spec.source.header.assign(file.begin(), file.begin() + static_cast<ptrdiff_t>(given));
  if (options & kSinkRaw) {
    spec.sink.kind = vfm::SinkKind::kRaw;
    spec.sink.fd = sink.get();
  }
  if (one_phase) spec.phase = wanted;
  spec.offset = start;

  REQUIRE(vfm::Transfer::Check(spec).empty());
  vfm::TransferError error;
  const auto transfer = vfm::Transfer::Create(std::move(spec), &error);
  REQUIRE(transfer != nullptr);
  const vfm::TransferOutcome outcome = transfer->Run();

  REQUIRE(outcome.ok == expected.code.empty());
  if (!outcome.ok) {
    REQUIRE(outcome.error.code != nullptr && outcome.error.code == expected.code);
    if (options & kSinkRaw) {
      // What came out before is a beginning of what is right.
      const Bytes written = Content(sink.get());
      REQUIRE(written.size() == outcome.error.bytes && written.size() <= expected.payload.size());
      REQUIRE(std::equal(written.begin(), written.end(), expected.payload.begin()));
    }
    return 0;
  }
  const vfm::TransferResult& result = outcome.result;
  const auto header = file.begin() + static_cast<ptrdiff_t>(expected.header_at);
  REQUIRE(result.end == (expected.header ? vfm::TransferEnd::kHeader : vfm::TransferEnd::kZero));
  REQUIRE(result.header == Bytes(header, header + static_cast<ptrdiff_t>(expected.header)));
  REQUIRE(result.bytes == expected.payload.size() && result.frames == expected.frames);
  REQUIRE(result.offset == expected.offset && result.crc == expected.crc);
  if (options & kSinkRaw) REQUIRE(Content(sink.get()) == expected.payload);
  return 0;
}
