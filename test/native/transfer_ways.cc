// The ways in which a transfer may move its bytes: what arrives is the same in each.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_kernel.h"
#include "vfio/crc32c.h"
#include "vfio/transfer.h"

using namespace vfm;
using namespace fake;

namespace {

constexpr size_t kMiB = 1u << 20;

// Payload bytes of each frame, in order.
std::vector<size_t> FrameSizes(const Bytes& file) {
  std::vector<size_t> sizes;
  SectionHeader section;
  for (size_t at = 0; at + kDataPrefixSize <= file.size() && DecodeSectionHeader(file.data() + at, &section);
       at += kSectionHeaderSize + section.length) {
    sizes.push_back(section.length - kFrameHeaderSize);
  }
  return sizes;
}

TransferSpec TwoSizes() {
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
  spec.frame_size = 4096;
  spec.lesser_frame_size = 1024;
  return spec;
}

// While it exists, this thread has one processor.
class OneProcessor {
 public:
  OneProcessor() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CHECK_EQ(sched_getaffinity(0, sizeof(before_), &before_), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &before_) && CPU_COUNT(&one) == 0) CPU_SET(cpu, &one);
    }
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  }
  ~OneProcessor() { sched_setaffinity(0, sizeof(before_), &before_); }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

  // Of this thread before.
  [[nodiscard]] int before() const { return CPU_COUNT(&before_); }

 private:
  cpu_set_t before_;
};

}  // namespace

// Both sizes are tried, and what arrives is one file, whichever was faster.
TEST(transfer_tries_both_sizes_of_frames_into_a_pipe) {
  Kernel source;
  source.data = Pattern(3 * kMiB + 17);
  Pipe pipe = MakePipe(0);
  Bytes file;
  std::thread taker([&] {
    Bytes buffer(12345);
    for (ssize_t got; (got = read(pipe.reader.fd(), buffer.data(), buffer.size())) > 0;) {
      file.insert(file.end(), buffer.begin(), buffer.begin() + got);
    }
  });
  TransferSpec spec = TwoSizes();
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = pipe.writer.fd();
  const TransferOutcome saved = Run(spec);
  pipe.writer.Close();
  taker.join();
  CHECK(saved.ok);
  const std::vector<size_t> sizes = FrameSizes(file);
  CHECK_EQ(saved.result.frames, sizes.size());
  CHECK_EQ(saved.result.crc, Crc32c(0, file.data(), file.size()));
  for (size_t i = 0; i + 1 < sizes.size(); ++i) CHECK(sizes[i] == 4096 || sizes[i] == 1024);
  // With one processor it is crowded from the start.
  CHECK_EQ(sizes.front(), OneProcessor().before() < 2 ? 1024u : 4096u);
  CHECK_EQ(std::count(sizes.begin(), sizes.begin() + 200, 1024u) >= 64, true);

  Kernel target;
  CHECK(LoadFrames(file, target, Spec(SourceKind::kFrames, SinkKind::kDataFd)).ok);
  CHECK(target.written == source.data);
}

// A file has the greater ones, and the lesser ones while all processors have a transfer.
TEST(transfer_frames_of_a_file_are_lesser_where_many_run) {
  std::optional<OneProcessor> crowded(std::in_place);
  const int processors = crowded->before();
  for (const uint32_t wanted : {1024u, 4096u}) {
    if (wanted == 4096u) crowded.reset();
    // Where there is one it is always crowded.
    if (!crowded && processors < 2) break;
    Kernel source;
    source.data = Pattern(256 << 10);
    TransferOutcome outcome;
    const Bytes file = SaveFrames(source, TwoSizes(), &outcome);
    CHECK(outcome.ok);
    for (const size_t size : FrameSizes(file)) CHECK_EQ(size, wanted);
    CHECK_EQ(outcome.result.crc, Crc32c(0, file.data(), file.size()));
  }
}

TEST(transfer_on_one_processor) {
  const OneProcessor alone;
  Kernel source;
  source.data = Pattern(3 * kMiB + 9);
  TransferOutcome outcome;
  const Bytes file = SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome);
  Kernel target;
  CHECK(LoadFrames(file, target, Spec(SourceKind::kFrames, SinkKind::kDataFd)).ok);
  CHECK(target.written == source.data);
}
