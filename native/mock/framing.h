// What surrounds an image in the stream of a driver, so that a decoder written for that driver accepts it
// (uAPI §4):
//
//   Plain    nothing
//   Records  {le64 size, le32 flags, le32 tag} before every piece of up to 8 MiB (mlx5, virtio)
//   Hisi     40 bytes of match data; with an image of 136 bytes they are the driver's struct
//   Qat      4096 bytes: preamble and section of the setup, preamble and sections of the state, zeros
//   Packets  headers of 24 bytes; descriptor first, trailer last (xe)
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "mock/content.h"
#include "mock/scenario.h"

namespace vfm::mock {

// A stream put together from bytes and from parts of images, which are made when they are read.
class Stream {
 public:
  void Literal(std::string bytes);
  void Part(std::shared_ptr<const Payload> payload, uint64_t offset, uint64_t size);
  uint64_t size() const { return size_; }
  // All of it lies within the stream.
  void Read(uint64_t pos, uint8_t* out, size_t n) const;

 private:
  struct Piece {
    uint64_t start, size;
    std::string bytes;
    std::shared_ptr<const Payload> payload;
    uint64_t offset;
  };
  void Add(Piece piece);

  std::deque<Piece> pieces_;
  uint64_t size_ = 0;
};

// Writes a stream, in this order: Begin, Image once or more, End.
class Framer {
 public:
  Framer(const DeviceConfig& config, Stream& stream) : config_(config), stream_(stream) {}

  void Begin();
  void Add(const std::shared_ptr<const Payload>& payload);
  void End();
  // Only one image can be in the stream, so it is made when the device has stopped.
  bool fixed() const {
    return config_.knobs.framing == Framing::Hisi || config_.knobs.framing == Framing::Qat;
  }

 private:
  void AddQatState(const std::shared_ptr<const Payload>& payload);

  const DeviceConfig config_;
  Stream& stream_;
};

// Takes a stream apart while it arrives, in pieces of any size, and gives its images to a Loader.
class Unframer {
 public:
  virtual ~Unframer() = default;
  static std::unique_ptr<Unframer> Create(const DeviceConfig& config, bool matched, Loader& loader);

  // Before anything is copied: 0, or a negated errno.
  virtual int Refuses(uint64_t, size_t) const { return 0; }
  // 0, or a negated errno.
  virtual int Take(const uint8_t* bytes, size_t n) = 0;
  // The verdict when RESUMING is left: 0 or a negated errno.
  virtual int Finish() { return 0; }
  // Nothing is to be loaded: the source's guest had no driver (hisi_acc).
  virtual bool Nothing() const { return false; }
  // The match data was looked at and fits.
  virtual bool Matched() const { return false; }
};

}  // namespace vfm::mock
