// DMA logging: which pages a device wrote to since they were last reported (uAPI §1.6).
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <vector>

#include "mock/scenario.h"
#include "vfio/uapi.h"

namespace vfm::mock {

class DirtyLog {
 public:
  bool running() const;
  void Start(uint64_t page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges);
  void Stop();
  // What the device does between two reports.
  void Work(const MigrationKnobs& knobs);
  // Only pages inside the ranges are seen.
  void Write(uint64_t iova, uint64_t length);
  // ORs the pages of the window into the caller's bitmap, and forgets them. 0 or a negated errno.
  long Report(const uapi::FeatureDmaLoggingReport& report);

 private:
  void WriteLocked(uint64_t iova, uint64_t length);
  // Page number `n` of all ranges, counted one after the other.
  uint64_t PageAt(uint64_t n) const;

  mutable std::mutex lock_;
  bool running_ = false;
  uint64_t page_size_ = 0;
  std::vector<uapi::FeatureDmaLoggingRange> ranges_;
  std::set<uint64_t> dirty_;  // addresses of pages
  uint64_t written_ = 0;      // pages, since the start: where the pattern stands
};

}  // namespace vfm::mock
