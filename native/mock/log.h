// What the calls were: a bounded ring of records, and counts that are never dropped.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "mock/json.h"

namespace vfm::mock {

// One call while it runs, and then its line in the log. Whoever learns something about the call fills it in.
struct Call {
  explicit Call(const char* name) : name(name) {}

  const char* name;
  int fd = -1;
  std::string fd_kind;
  std::string device;
  std::string path;
  std::string request;
  std::string arcs;  // "RUNNING>RUNNING_P2P RUNNING_P2P>STOP": what was walked
  std::string fault;
  std::optional<uint32_t> from, to;
  std::optional<uint64_t> length, offset;
  int64_t result = 0;

  uint64_t seq = 0;
  uint64_t ns = 0;
  uint64_t duration_ns = 0;
  int tid = 0;
};

class CallLog {
 public:
  explicit CallLog(size_t limit) : limit_(limit) {}

  void Start(Call& call);
  void Finish(Call& call);
  void Clear();
  // {calls: [...], counts: {"ioctl VFIO_DEVICE_RESET": 1, ...}, dropped, bytesRead, bytesWritten}
  json::Value Dump() const;

 private:
  mutable std::mutex lock_;
  const size_t limit_;
  std::deque<Call> ring_;
  std::map<std::string, uint64_t> counts_;
  uint64_t next_ = 1;
  uint64_t dropped_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t bytes_written_ = 0;
};

}  // namespace vfm::mock
