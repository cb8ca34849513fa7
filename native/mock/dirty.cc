#include "mock/dirty.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mock/user.h"

namespace vfm::mock {

namespace {

// splitmix64.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Of a window or a range; the kernel has refused those that reach past the end of the address space.
uint64_t LastOf(uint64_t iova, uint64_t length) {
  return iova + length - 1;
}

}  // namespace

bool DirtyLog::running() const {
  std::lock_guard hold(lock_);
  return running_;
}

void DirtyLog::Start(uint64_t page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges) {
  std::lock_guard hold(lock_);
  running_ = true;
  page_size_ = std::max<uint64_t>(page_size, 1);
  ranges_ = std::move(ranges);
  std::erase_if(ranges_, [](const auto& r) { return r.length == 0; });
  dirty_.clear();
  written_ = 0;
}

void DirtyLog::Stop() {
  std::lock_guard hold(lock_);
  running_ = false;
  dirty_.clear();
}

uint64_t DirtyLog::PageAt(uint64_t n) const {
  for (const auto& r : ranges_) {
    const uint64_t pages = (r.length - 1) / page_size_ + 1;
    if (n < pages) return r.iova + n * page_size_;
    n -= pages;
  }
  return 0;
}

void DirtyLog::Work(const MigrationKnobs& knobs) {
  std::lock_guard hold(lock_);
  uint64_t pages = 0;
  for (const auto& r : ranges_) pages += (r.length - 1) / page_size_ + 1;
  if (pages == 0) return;
  for (uint64_t i = 0; i < knobs.dirty_pages; i++, written_++) {
    const bool random = knobs.dirty_pattern == DirtyPattern::Random;
    WriteLocked(PageAt((random ? Mix(knobs.seed ^ Mix(written_)) : written_) % pages), 1);
  }
}

void DirtyLog::Write(uint64_t iova, uint64_t length) {
  std::lock_guard hold(lock_);
  if (running_ && length != 0) WriteLocked(iova, length);
}

void DirtyLog::WriteLocked(uint64_t iova, uint64_t length) {
  for (const auto& r : ranges_) {
    const uint64_t first = std::max(iova, r.iova);
    const uint64_t last = std::min(LastOf(iova, length), LastOf(r.iova, r.length));
    if (first > last) continue;
    for (uint64_t page = (first - r.iova) / page_size_; page <= (last - r.iova) / page_size_; page++)
      dirty_.insert(r.iova + page * page_size_);
  }
}

// The size of a bit need not be that of a tracked page: every bit that a page touches is set.
long DirtyLog::Report(const uapi::FeatureDmaLoggingReport& report) {
  std::lock_guard hold(lock_);
  if (report.length == 0) return 0;
  const uint64_t window_last = LastOf(report.iova, report.length);
  for (auto it = dirty_.begin(); it != dirty_.end() && *it <= window_last;) {
    const uint64_t page_last = LastOf(*it, page_size_);
    if (page_last < report.iova) {
      ++it;
      continue;
    }
    const uint64_t first = (std::max(*it, report.iova) - report.iova) / report.page_size;
    const uint64_t last = (std::min(page_last, window_last) - report.iova) / report.page_size;
    for (uint64_t bit = first; bit <= last; bit++) {
      const uintptr_t at = static_cast<uintptr_t>(report.bitmap) + bit / 64 * sizeof(uint64_t);
      uint64_t word = 0;
      if (!CopyFromUser(&word, at, sizeof word)) return -EFAULT;
      word |= uint64_t{1} << (bit % 64);
      if (!CopyToUser(at, &word, sizeof word)) return -EFAULT;
    }
    it = dirty_.erase(it);
  }
  return 0;
}

}  // namespace vfm::mock
