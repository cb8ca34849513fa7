#include "mock/stream_fault.h"

#include <algorithm>
#include <cstring>

#include "mock/user.h"

namespace vfm::mock {

namespace {

using Bytes = std::vector<uint8_t>;

// What is kept of a stream for the faults that repeat its end.
constexpr size_t kTail = 4096;

// splitmix64: the same seed gives the same place on every machine.
uint64_t Mix(uint64_t seed) {
  uint64_t z = seed + 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A piece of `have` bytes that stand at `position` of the stream. At most a quarter of them: of a state of
// few bytes something has to be left.
struct Piece {
  size_t at, length;
};
std::optional<Piece> PieceOf(const FaultConfig& f, uint64_t position, size_t have) {
  size_t length = static_cast<size_t>(std::min<uint64_t>(f.bytes, (have + 3) / 4));
  bool single = f.stream == StreamFault::Flipped || f.stream == StreamFault::Short;
  if (single) length = 1;
  size_t room = f.stream == StreamFault::Reordered ? 2 * length : length;
  if (length == 0 || room > have) return std::nullopt;
  if (!f.at_offset) return Piece{static_cast<size_t>(Mix(f.seed) % (have - room + 1)), length};
  uint64_t at = *f.at_offset - std::min(*f.at_offset, position);
  if (at + room > have) return std::nullopt;
  return Piece{static_cast<size_t>(at), length};
}

// The bytes as they come out of a fault. `cut`: the stream ends behind them.
Bytes Spoilt(const FaultConfig& f, Piece p, const uint8_t* bytes, size_t n, bool& cut) {
  Bytes out(bytes, bytes + n);
  auto at = out.begin() + static_cast<ptrdiff_t>(p.at);
  auto end = at + static_cast<ptrdiff_t>(p.length);
  switch (f.stream) {
    case StreamFault::Lost:
      out.erase(at, end);
      break;
    case StreamFault::Duplicated: {
      Bytes piece(at, end);
      out.insert(end, piece.begin(), piece.end());
      break;
    }
    case StreamFault::Reordered:
      std::swap_ranges(at, end, end);
      break;
    case StreamFault::Flipped:
      *at ^= static_cast<uint8_t>(1u << (Mix(f.seed + 1) % 8));
      break;
    case StreamFault::Short:
      out.erase(at, out.end());
      cut = true;
      break;
    default:
      break;
  }
  return out;
}

void Keep(Bytes& last, const uint8_t* bytes, size_t n) {
  if (n == 0) return;
  size_t from = n - std::min(n, kTail);
  last.assign(bytes + from, bytes + n);
}

// All of it: what the driver does not take at once, it takes in further calls. 0 or a negated errno.
ssize_t WriteAll(File& file, Call& call, const Bytes& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = file.Write(call, bytes.data() + done, bytes.size() - done);
    if (n < 0) return n;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return 0;
}

}  // namespace

void StreamFaults::Clear(bool any) {
  std::lock_guard hold(lock_);
  sessions_.clear();
  any_ = any;
}

std::shared_ptr<StreamFaults::Session> StreamFaults::SessionOf(const FilePtr& file,
                                                               const FaultConfig* fault) {
  std::shared_ptr<Session>& session = sessions_[file->device()];
  if (session == nullptr || session->file.lock() != file) {
    Bytes stale = session == nullptr ? Bytes() : std::move(session->pending);
    session = std::make_shared<Session>();
    session->file = file;
    session->pending = std::move(stale);
  }
  if (fault != nullptr && fault->stream == StreamFault::Endless)
    session->endless = true;
  else if (fault != nullptr && fault->stream != StreamFault::None)
    session->armed = *fault;
  return session;
}

// Under lock_: `have` bytes of the driver are in `buf`. What does not fit is handed out by the next calls.
ssize_t StreamFaults::Hand(Session& s, uint64_t position, uint8_t* buf, size_t n, size_t have) {
  Keep(s.last, buf, have);
  if (!s.armed) return static_cast<ssize_t>(have);
  std::optional<Piece> piece = PieceOf(*s.armed, position, have);
  if (!piece) return static_cast<ssize_t>(have);
  Bytes out = Spoilt(*s.armed, *piece, buf, have, s.ended);
  s.armed.reset();
  size_t now = std::min(n, out.size());
  memcpy(buf, out.data(), now);
  s.pending.assign(out.begin() + static_cast<ptrdiff_t>(now), out.end());
  return static_cast<ssize_t>(now);
}

ssize_t StreamFaults::Read(const FilePtr& file, Call& call, void* buf, size_t n, const FaultConfig* fault) {
  if (!any_) return file->Read(call, buf, n);
  std::shared_ptr<Session> s;
  {
    std::lock_guard hold(lock_);
    s = SessionOf(file, fault);
    if (!s->pending.empty() && n > 0) {
      size_t now = std::min(n, s->pending.size());
      if (!UserCanWrite(buf, now)) return -EFAULT;
      memcpy(buf, s->pending.data(), now);
      s->pending.erase(s->pending.begin(), s->pending.begin() + static_cast<ptrdiff_t>(now));
      return static_cast<ssize_t>(now);
    }
    if (s->ended) return 0;
  }
  for (;;) {
    uint64_t position = file->Position().value_or(0);
    ssize_t have = file->Read(call, buf, n);
    if (have < 0 || n == 0) return have;
    std::lock_guard hold(lock_);
    if (have > 0) {
      ssize_t now = Hand(*s, position, static_cast<uint8_t*>(buf), n, static_cast<size_t>(have));
      // All of it was lost: an answer of 0 would be the end.
      if (now > 0 || s->ended) return now;
      continue;
    }
    if (!s->endless || s->last.empty()) return 0;
    size_t again = std::min(n, s->last.size());
    if (!UserCanWrite(buf, again)) return -EFAULT;
    memcpy(buf, s->last.data(), again);
    return static_cast<ssize_t>(again);
  }
}

ssize_t StreamFaults::Write(const FilePtr& file, Call& call, const void* buf, size_t n,
                            const FaultConfig* fault) {
  if (!any_ || n == 0) return file->Write(call, buf, n);
  if (!UserCanRead(buf, n)) return -EFAULT;
  const auto* bytes = static_cast<const uint8_t*>(buf);
  uint64_t position = file->Position().value_or(0);
  bool touched;
  Bytes out;
  {
    std::lock_guard hold(lock_);
    std::shared_ptr<Session> s = SessionOf(file, fault);
    if (s->ended) return static_cast<ssize_t>(n);
    Keep(s->last, bytes, n);
    std::optional<Piece> piece = s->armed ? PieceOf(*s->armed, position, n) : std::nullopt;
    touched = piece || !s->pending.empty();
    if (touched) {
      out = std::move(s->pending);
      s->pending.clear();
      Bytes now = piece ? Spoilt(*s->armed, *piece, bytes, n, s->ended) : Bytes(bytes, bytes + n);
      if (piece) s->armed.reset();
      out.insert(out.end(), now.begin(), now.end());
    }
  }
  if (!touched) return file->Write(call, buf, n);
  ssize_t e = WriteAll(*file, call, out);
  return e != 0 ? e : static_cast<ssize_t>(n);
}

void StreamFaults::Stale(const Device* device) {
  std::lock_guard hold(lock_);
  auto it = sessions_.find(device);
  if (it == sessions_.end()) return;
  it->second->pending = it->second->last;
  // The next session is another one even if its file should take this one's place in memory.
  it->second->file.reset();
}

}  // namespace vfm::mock
