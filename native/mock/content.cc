#include "mock/content.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vfm::mock {

namespace {

constexpr char kMagic[8] = {'M', 'O', 'C', 'K', 'S', 'T', 'A', 'T'};
constexpr char kIncrement[8] = {'M', 'O', 'C', 'K', 'I', 'N', 'C', 'R'};
constexpr uint32_t kVersion = 1;

struct HeaderLayout {
  char magic[8];
  uint32_t version;
  uint32_t sequence;
  uint64_t size;
  uint64_t seed;
  char model[32];
};
static_assert(sizeof(HeaderLayout) == kImageHeader);

// splitmix64's finalizer.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

constexpr size_t kPattern = 1u << 20;

// Pseudo-random bytes that blocks are cut from: copying them costs what memcpy costs.
const uint8_t* Pattern() {
  static const std::vector<uint64_t> words = [] {
    std::vector<uint64_t> w((kPattern + kBlock) / 8);
    for (size_t i = 0; i < w.size(); i++) w[i] = Mix(0x9e3779b97f4a7c15ull * (i + 1));
    return w;
  }();
  return reinterpret_cast<const uint8_t*>(words.data());
}

// One block: a piece of the pattern chosen by seed and number, with its first 8 bytes replaced by the choice
// itself, so that no two blocks are alike.
struct Block {
  Block(uint64_t seed, uint64_t number) : tag(Mix(seed ^ Mix(number + 1))) {
    bytes = Pattern() + (tag % (kPattern / 64)) * 64;
  }
  void Read(size_t from, uint8_t* out, size_t n) const {
    memcpy(out, bytes + from, n);
    for (size_t i = from; i < sizeof tag && i < from + n; i++)
      out[i - from] = reinterpret_cast<const uint8_t*>(&tag)[i];
  }
  bool Equals(size_t from, const uint8_t* other, size_t n) const {
    size_t skip = from < sizeof tag ? std::min(sizeof tag - from, n) : 0;
    return memcmp(reinterpret_cast<const uint8_t*>(&tag) + std::min(from, sizeof tag), other, skip) == 0 &&
           memcmp(bytes + from + skip, other + skip, n - skip) == 0;
  }
  uint64_t tag;
  const uint8_t* bytes;
};

}  // namespace

void Generate(uint64_t seed, uint64_t offset, uint8_t* out, size_t n) {
  while (n > 0) {
    size_t in_block = offset % kBlock;
    size_t step = std::min(n, kBlock - in_block);
    Block(seed, offset / kBlock).Read(in_block, out, step);
    offset += step;
    out += step;
    n -= step;
  }
}

void Image::Read(uint64_t offset, uint8_t* out, size_t n) const {
  size_t live = offset >= valid ? 0 : static_cast<size_t>(std::min<uint64_t>(n, valid - offset));
  Generate(seed, offset, out, live);
  memset(out + live, 0, n - live);
  if (overlay == nullptr || n == 0) return;
  uint64_t last = (offset + n - 1) / kBlock;
  for (auto it = overlay->lower_bound(offset / kBlock); it != overlay->end() && it->first <= last; ++it) {
    uint64_t start = std::max(offset, it->first * kBlock);
    uint64_t end = std::min(offset + n, (it->first + 1) * kBlock);
    memcpy(out + (start - offset), it->second.data() + (start - it->first * kBlock), end - start);
  }
}

void Image::Header(uint32_t sequence, const std::string& model, uint8_t out[kImageHeader]) const {
  HeaderLayout h{};
  memcpy(h.magic, increment ? kIncrement : kMagic, sizeof kMagic);
  h.version = kVersion;
  h.sequence = sequence;
  h.size = size;
  h.seed = seed;
  memcpy(h.model, model.data(), std::min(model.size(), sizeof h.model - 1));
  memcpy(out, &h, sizeof h);
}

void Image::Stream(uint64_t offset, uint32_t sequence, const std::string& model, uint8_t* out,
                   size_t n) const {
  if (offset < kImageHeader) {
    uint8_t header[kImageHeader];
    Header(sequence, model, header);
    size_t step = std::min<size_t>(n, kImageHeader - offset);
    memcpy(out, header + offset, step);
    offset += step;
    out += step;
    n -= step;
  }
  Read(offset, out, n);
}

Loader::Loader(const MigrationKnobs& knobs, uint64_t capacity)
    : knobs_(knobs), capacity_(capacity), overlay_(std::make_shared<Overlay>()) {}

int Loader::TakeHeader(const uint8_t*& bytes, size_t& n) {
  size_t step = std::min(n, kImageHeader - header_have_);
  memcpy(header_ + header_have_, bytes, step);
  // Bytes after a whole image are another image, or too many.
  size_t compare = std::min(header_have_ + step, sizeof kMagic);
  if (any_ && memcmp(header_, kMagic, compare) != 0 && memcmp(header_, kIncrement, compare) != 0)
    return -ENOMEM;
  header_have_ += step;
  bytes += step;
  n -= step;
  if (header_have_ < kImageHeader) return 0;
  HeaderLayout h;
  memcpy(&h, header_, sizeof h);
  char model[sizeof h.model] = {};
  memcpy(model, knobs_.model.data(), std::min(knobs_.model.size(), sizeof model - 1));
  increment_ = any_ && memcmp(h.magic, kIncrement, sizeof kIncrement) == 0;
  if ((!increment_ && memcmp(h.magic, kMagic, sizeof kMagic) != 0) || h.version != kVersion ||
      h.sequence != sequence_ || memcmp(h.model, model, sizeof model) != 0 || h.size < kImageHeader)
    return -knobs_.mismatch_errno;
  end_ = h.size;
  at_ = kImageHeader;
  if (increment_) {
    sequence_++;
    return 0;
  }
  if (h.size > capacity_) return -ENOMEM;
  if (h.size < capacity_) return -knobs_.mismatch_errno;
  any_ = true;
  sequence_++;
  image_ = {};
  image_.seed = h.seed;
  image_.size = h.size;
  overlay_ = std::make_shared<Overlay>();
  return 0;
}

int Loader::Change(uint64_t block, size_t in_block, const uint8_t* bytes, size_t n) {
  auto it = overlay_->find(block);
  if (it == overlay_->end()) {
    if (overlay_->size() >= kMaxOverlay) return -ENOMEM;
    it = overlay_->emplace(block, std::vector<uint8_t>(kBlock)).first;
    Generate(image_.seed, block * kBlock, it->second.data(), kBlock);
  }
  memcpy(it->second.data() + in_block, bytes, n);
  return 0;
}

int Loader::TakeContent(const uint8_t* bytes, size_t n) {
  while (n > 0) {
    uint64_t block = at_ / kBlock;
    size_t in_block = at_ % kBlock;
    size_t step = std::min(n, kBlock - in_block);
    if (!Block(image_.seed, block).Equals(in_block, bytes, step))
      if (int e = Change(block, in_block, bytes, step); e != 0) return e;
    at_ += step;
    bytes += step;
    n -= step;
  }
  return 0;
}

int Loader::Take(const uint8_t* bytes, size_t n) {
  while (n > 0 && broken_ == 0) {
    if (any_ && at_ == end_) {
      // A further image starts: collect its header.
      if (header_have_ == kImageHeader) header_have_ = 0;
      broken_ = TakeHeader(bytes, n);
    } else if (!any_) {
      broken_ = TakeHeader(bytes, n);
    } else {
      size_t step = static_cast<size_t>(std::min<uint64_t>(n, end_ - at_));
      if (increment_)
        at_ += step;
      else
        broken_ = TakeContent(bytes, step);
      bytes += step;
      n -= step;
    }
  }
  return broken_;
}

int Loader::Finish(Image& out) const {
  bool whole = any_ && at_ == end_ && broken_ == 0 && (header_have_ == kImageHeader);
  if (knobs_.checks != Checks::None && !whole) return -EINVAL;
  if (knobs_.checks == Checks::Content && !overlay_->empty()) return -EINVAL;
  out = image_;
  if (!any_) out.size = capacity_;
  out.valid = whole || increment_ ? UINT64_MAX : at_;
  out.overlay = overlay_->empty() ? nullptr : overlay_;
  return 0;
}

}  // namespace vfm::mock
