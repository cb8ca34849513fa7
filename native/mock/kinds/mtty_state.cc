#include "mock/kinds/mtty_state.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace vfm::mock {

namespace {

/* 16550 registers and bits that the sample driver knows */
enum : uint64_t { kData = 0, kIer = 1, kFcrIir = 2, kLcr = 3, kMcr = 4, kLsr = 5, kMsr = 6, kScr = 7 };
constexpr uint8_t kIerRdi = 1, kIerThri = 2, kIerRlsi = 4, kIerMsi = 8;
constexpr uint8_t kIirNoInt = 1, kIirThri = 2, kIirRdi = 4, kIirRlsi = 6, kIirFifo = 0xc0;
constexpr uint8_t kFcrEnable = 1, kFcrClear = 6;
constexpr uint8_t kLcrDlab = 0x80;
constexpr uint8_t kMcrAfe = 0x20;
constexpr uint8_t kLsrDr = 0x01, kLsrOe = 0x02, kLsrEmpty = 0x60;
constexpr uint8_t kMsrAlways = 0xa2 /* DSR, delta DSR, DCD */, kMsrCts = 0x11 /* CTS, delta CTS */;

bool Empty(const UartState& u) {
  return u.head == u.tail;
}

void Push(UartState& u, uint8_t value) {
  if (u.count >= u.max_fifo_size) {
    u.overrun = 1;
    return;
  }
  u.fifo[u.head % sizeof u.fifo] = value;
  u.head = (u.head + 1) % sizeof u.fifo;
  u.count++;
  u.overrun = 0;
}

// What was not in the FIFO is undefined in the driver; here it reads as 0.
uint8_t Pop(UartState& u) {
  if (Empty(u)) return 0;
  uint8_t value = u.fifo[u.tail % sizeof u.fifo];
  u.tail = (u.tail + 1) % sizeof u.fifo;
  u.count--;
  return value;
}

uint8_t Iir(const UartState& u) {
  uint8_t ier = u.reg[kIer], iir = 0;
  if ((ier & kIerRlsi) && u.overrun) iir |= kIirRlsi;
  if ((ier & kIerRdi) && u.count >= u.trigger_level) iir |= kIirRdi;
  if ((ier & kIerThri) && Empty(u)) iir |= kIirThri;
  // A modem status interrupt has no bit of its own.
  return (iir == 0 ? kIirNoInt : iir) | kIirFifo;
}

uint8_t Msr(const UartState& u) {
  bool space = (u.reg[kMcr] & kMcrAfe) == 0 || u.count < u.max_fifo_size;
  return kMsrAlways | (space ? kMsrCts : 0);
}

}  // namespace

void UartWrite(UartState& u, uint64_t reg, uint8_t value) {
  switch (reg) {
    case kData:
      // The divisor is collected by OR: setting DLAB has cleared it.
      if (u.dlab)
        u.divisor |= value;
      else
        Push(u, value);
      break;
    case kIer:
      if (u.dlab)
        u.divisor = static_cast<uint16_t>(u.divisor | value << 8);
      else
        u.reg[kIer] = value;
      break;
    case kFcrIir:
      u.fcr = value;
      if (value & kFcrClear) u.count = u.head = u.tail = 0;
      // The driver decodes the trigger level and then sets 1 all the same.
      u.trigger_level = 1;
      u.max_fifo_size = value & kFcrEnable ? sizeof u.fifo : 1;
      break;
    case kLcr:
      u.dlab = (value & kLcrDlab) != 0;
      if (u.dlab) u.divisor = 0;
      u.reg[kLcr] = value;
      break;
    case kMcr:
    case kScr:
      u.reg[reg] = value;
      break;
    default:  // LSR and MSR are read-only; nothing is behind the eighth register
      break;
  }
}

uint8_t UartRead(UartState& u, uint64_t reg) {
  switch (reg) {
    case kData:
      return u.dlab ? static_cast<uint8_t>(u.divisor) : Pop(u);
    case kIer:
      return u.dlab ? static_cast<uint8_t>(u.divisor >> 8) : u.reg[kIer] & 0x0f;
    case kFcrIir:
      return Iir(u);
    case kLcr:
    case kMcr:
    case kScr:
      return u.reg[reg];
    case kLsr:
      return static_cast<uint8_t>((Empty(u) ? kLsrEmpty : kLsrDr) | (u.overrun ? kLsrOe : 0));
    case kMsr:
      return Msr(u);
    default:
      return 0;
  }
}

namespace {

struct FileLayout {
  char magic[8];
  MttyMemory memory;
};
constexpr char kMagic[8] = {'V', 'F', 'M', 'M', 'T', 'T', 'Y', '1'};

bool WriteAll(int fd, const void* bytes, size_t n) {
  return write(fd, bytes, n) == static_cast<ssize_t>(n);
}

}  // namespace

MttyStore::MttyStore(const std::string& directory, const std::string& uuid) {
  if (!directory.empty()) path_ = directory + "/" + uuid + ".mtty";
}

int MttyStore::Lock() {
  std::lock_guard hold(lock_);
  if (!enabled() || lock_fd_ >= 0) return 0;
  int fd = open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int e = errno == EWOULDBLOCK ? EBUSY : errno;
    close(fd);
    return -e;
  }
  lock_fd_ = fd;
  return 0;
}

void MttyStore::Unlock() {
  std::lock_guard hold(lock_);
  if (lock_fd_ >= 0) close(lock_fd_);
  lock_fd_ = -1;
}

int MttyStore::Load(MttyMemory& out) const {
  int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  FileLayout file;
  char more;
  ssize_t n = read(fd, &file, sizeof file);
  bool ours = n == static_cast<ssize_t>(sizeof file) && read(fd, &more, 1) == 0 &&
              memcmp(file.magic, kMagic, sizeof kMagic) == 0;
  close(fd);
  if (!ours) return -EIO;
  out = file.memory;
  return 0;
}

int MttyStore::Save(const MttyMemory& memory) {
  if (!enabled()) return 0;
  std::lock_guard hold(lock_);
  FileLayout file;
  memcpy(file.magic, kMagic, sizeof kMagic);
  file.memory = memory;
  std::string next = path_ + ".new." + std::to_string(getpid());
  int fd = open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  bool written = WriteAll(fd, &file, sizeof file);
  if (close(fd) != 0 || !written || rename(next.c_str(), path_.c_str()) != 0) {
    int e = errno;
    unlink(next.c_str());
    return -e;
  }
  return 0;
}

}  // namespace vfm::mock
