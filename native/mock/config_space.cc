#include "mock/config_space.h"

#include <cstdlib>
#include <cstring>

namespace vfm::mock {

namespace {

constexpr size_t kStatus = 0x06, kBar0 = 0x10, kCapabilities = 0x34, kInterruptLine = 0x3c,
                 kInterruptPin = 0x3d;
constexpr size_t kMsi = 0x50, kMsix = 0x70;
constexpr uint8_t kCapMsi = 0x05, kCapMsix = 0x11, kStatusCapList = 0x10;

}  // namespace

void ConfigSpace::Allow(size_t at, std::initializer_list<uint8_t> mask) {
  for (uint8_t bits : mask) writable_[at++] = bits;
}

void ConfigSpace::Make(const DeviceConfig& config, uint32_t bar0_size) {
  bytes_.fill(0);
  writable_.fill(0);
  auto put = [&](size_t at, uint64_t value, size_t n) {
    for (size_t i = 0; i < n; i++) bytes_[at + i] = static_cast<uint8_t>(value >> (8 * i));
  };
  auto id = [&](size_t at, const char* name, size_t n) {
    put(at, strtoull(config.ids.at(name).c_str(), nullptr, 16), n);
  };
  id(0x00, "vendor", 2);
  id(0x02, "device", 2);
  id(0x08, "revision", 1);
  id(0x09, "class", 3);
  id(0x2c, "subsystem_vendor", 2);
  id(0x2e, "subsystem_device", 2);
  bytes_[kStatus] = kStatusCapList;
  bytes_[kCapabilities] = kMsi;
  bytes_[kInterruptPin] = 1;
  // MSI with 64-bit addresses and mask bits, for 4 messages.
  put(kMsi, kCapMsi | kMsix << 8 | (0x0080u | 0x0100u | 2u << 1) << 16, 4);
  // MSI-X: the table is in BAR 0, at 2048, the pending bits at 3072.
  put(kMsix, kCapMsix | (kMsixVectors - 1) << 16, 4);
  put(kMsix + 4, 2048, 4);
  put(kMsix + 8, 3072, 4);
  // Command: decoding, bus master, parity, SERR, INTx.
  Allow(0x04, {0x47, 0x05});
  const uint32_t address = ~(bar0_size - 1);
  for (size_t i = 0; i < 4; i++) writable_[kBar0 + i] = static_cast<uint8_t>(address >> (8 * i));
  Allow(kInterruptLine, {0xff});
  // Number of messages; address without its lowest bits; data; mask bits.
  Allow(kMsi + 2, {0x70, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
  Allow(kMsi + 16, {0x0f});
}

void ConfigSpace::Write(uint64_t offset, const uint8_t* bytes, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint8_t& at = bytes_[offset + i];
    const uint8_t mask = writable_[offset + i];
    at = static_cast<uint8_t>((at & ~mask) | (bytes[i] & mask));
  }
}

void ConfigSpace::SetEnabled(bool msi, bool msix) {
  auto set = [&](size_t at, uint8_t bit, bool on) {
    bytes_[at] = static_cast<uint8_t>((bytes_[at] & ~bit) | (on ? bit : 0));
  };
  set(kMsi + 2, 0x01, msi);
  set(kMsix + 3, 0x80, msix);
}

}  // namespace vfm::mock
