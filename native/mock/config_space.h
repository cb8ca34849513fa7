// The configuration space of a vfio-pci device as its user sees it: what is kept for the user and what is
// the device's (drivers/vfio/pci/vfio_pci_config.c).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "mock/scenario.h"

namespace vfm::mock {

class ConfigSpace {
 public:
  static constexpr size_t kSize = 256;
  static constexpr uint32_t kMsiVectors = 4, kMsixVectors = 8;

  // As the device is opened: identity, no decoding, no addresses.
  void Make(const DeviceConfig& config, uint32_t bar0_size);
  const uint8_t* bytes() const { return bytes_.data(); }
  void Write(uint64_t offset, const uint8_t* bytes, size_t n);
  // The enable bits follow what the user gave eventfds for.
  void SetEnabled(bool msi, bool msix);

 private:
  void Allow(size_t at, std::initializer_list<uint8_t> mask);

  std::array<uint8_t, kSize> bytes_{};
  std::array<uint8_t, kSize> writable_{};
};

}  // namespace vfm::mock
