// The state of a generic device: any number of bytes, a pure function of a seed and an offset, so that
// gigabytes need no memory. Blocks that a load changed are kept beside it.
//
// A saved state ("image") is a header of 64 bytes and then content, `size` bytes together, host byte order:
//   0  8  magic "MOCKSTAT" (or "MOCKINCR")     8  4  format version 1    12  4  sequence: 0, 1, ... for
//   images that follow in one stream 16 8  size                 24 8  seed                32 32  model,
//   padded with zeros
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mock/scenario.h"

namespace vfm::mock {

inline constexpr size_t kImageHeader = 64;
inline constexpr size_t kBlock = 4096;
// Changed blocks that one device keeps: 64 MiB.
inline constexpr size_t kMaxOverlay = (64u << 20) / kBlock;

using Overlay = std::map<uint64_t, std::vector<uint8_t>>;

struct Image {
  uint64_t seed = 0;
  uint64_t size = 0;
  // From here on everything reads as zero: what a load that was cut short leaves.
  uint64_t valid = UINT64_MAX;
  std::shared_ptr<const Overlay> overlay;

  // Content at `offset` of the image, at or after the header.
  void Read(uint64_t offset, uint8_t* out, size_t n) const;
  // The header, as bytes.
  void Header(uint32_t sequence, const std::string& model, uint8_t out[kImageHeader]) const;
  // Any bytes of the image, header included.
  void Stream(uint64_t offset, uint32_t sequence, const std::string& model, uint8_t* out, size_t n) const;
  // Has the magic "MOCKINCR": what became dirty after an image. Its bytes say nothing and change nothing.
  bool increment = false;
};

// An image as it goes into a stream.
struct Payload {
  Payload(const Image& image, uint32_t sequence, std::string model)
      : image(image), sequence(sequence), model(std::move(model)), size(image.size) {}
  void Read(uint64_t offset, uint8_t* out, size_t n) const { image.Stream(offset, sequence, model, out, n); }

  const Image image;
  const uint32_t sequence;
  const std::string model;
  const uint64_t size;
};

// Content as the seed gives it, without changes.
void Generate(uint64_t seed, uint64_t offset, uint8_t* out, size_t n);

// Takes a stream apart while it arrives, in pieces of any size.
class Loader {
 public:
  // `capacity`: greatest image that the device takes.
  Loader(const MigrationKnobs& knobs, uint64_t capacity);

  // 0, or a negated errno; then nothing of these bytes counts and the stream is broken for good.
  int Take(const uint8_t* bytes, size_t n);
  // The driver's verdict when RESUMING is left: 0 or -EINVAL. `out` is the state that results.
  int Finish(Image& out) const;

 private:
  int TakeHeader(const uint8_t*& bytes, size_t& n);
  int TakeContent(const uint8_t* bytes, size_t n);
  int Change(uint64_t block, size_t in_block, const uint8_t* bytes, size_t n);

  const MigrationKnobs knobs_;
  const uint64_t capacity_;
  uint8_t header_[kImageHeader] = {};
  size_t header_have_ = 0;
  uint32_t sequence_ = 0;
  bool any_ = false;  // a whole header came
  uint64_t at_ = 0;   // in the image
  uint64_t end_ = 0;  // of the image or increment that arrives
  bool increment_ = false;
  Image image_;
  std::shared_ptr<Overlay> overlay_;
  int broken_ = 0;
};

}  // namespace vfm::mock
