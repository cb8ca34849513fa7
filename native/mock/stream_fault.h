// Faults of the stream itself: between the caller and the driver, bytes of a data fd are lost, come twice, …
// The driver does not know of it. Where a fault acts, and which bit it flips, follows from its offset or its
// seed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "mock/file.h"
#include "mock/scenario.h"

namespace vfm::mock {

class StreamFaults {
 public:
  // Faults were replaced: what earlier ones have left behind is forgotten. `any`: one of them is of this
  // kind.
  void Clear(bool any);

  // read and write of a data fd; `fault` is what met this call, or null.
  ssize_t Read(const FilePtr& file, Call& call, void* buf, size_t n, const FaultConfig* fault);
  ssize_t Write(const FilePtr& file, Call& call, const void* buf, size_t n, const FaultConfig* fault);

  // A reset that forgets to empty the stream: the device's next session begins with what the last one ended
  // with.
  void Stale(const Device* device);

 private:
  // What the faults have made of one session's stream. Under lock_.
  struct Session {
    std::weak_ptr<File> file;
    std::optional<FaultConfig> armed;  // has met a call and waits for its place in the stream
    std::vector<uint8_t> pending;      // handed out, or written, before anything else
    std::vector<uint8_t> last;         // the bytes that passed last, kTail of them
    bool ended = false;
    bool endless = false;
  };
  std::shared_ptr<Session> SessionOf(const FilePtr& file, const FaultConfig* fault);
  ssize_t Hand(Session& session, uint64_t position, uint8_t* buf, size_t n, size_t have);

  std::atomic<bool> any_{false};
  std::mutex lock_;
  std::map<const Device*, std::shared_ptr<Session>> sessions_;
};

}  // namespace vfm::mock
