// What a transfer does when something is wrong: with the bytes, with an end, or because somebody cancels.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>

#include "check.h"
#include "fake_kernel.h"
#include "vfio/transfer.h"

using namespace vfm;
using namespace fake;

namespace {

constexpr size_t kMiB = 1u << 20;

TransferOutcome Load(const Bytes& content, Kernel& kernel) {
  const File file = File::Memory(content);
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kDataFd);
  spec.source.fd = file.fd();
  spec.sink.kernel = kernel.table();
  spec.sink.fd = kDataFd;
  return Run(spec);
}

Bytes Join(const Bytes& a, const Bytes& b) {
  Bytes all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

bool IsPrefix(const Bytes& part, const Bytes& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

// Cancels from another thread while Run() is on this one.
TransferOutcome RunAndCancel(const TransferSpec& spec) {
  TransferError error;
  const auto transfer = Transfer::Create(spec, &error);
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    transfer->Cancel();
  });
  const TransferOutcome outcome = transfer->Run();
  canceller.join();
  return outcome;
}

}  // namespace

// uAPI §0.8: the kernel may not notice. So no flipped bit may get through, and nothing of its frame may reach
// the sink.
TEST(faults_each_flipped_bit_of_a_file) {
  const Bytes first = Pattern(40, 1), second = Pattern(30, 2);
  const Bytes whole = Join(first, second);
  Bytes content = Join(Frame({0, 3, 0, first}), Frame({0, 3, 40, second}));
  const size_t second_starts = content.size() - kDataPrefixSize - second.size();
  for (size_t bit = 0; bit < 8 * content.size(); ++bit) {
    content[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    Kernel target;
    const TransferOutcome outcome = Load(content, target);
    const size_t at = bit / 8 % (bit / 8 < second_starts ? SIZE_MAX : second_starts);
    if (at - kSectionHeaderSize < 4) {
      // The stream number, which is looked at before the frame is read: not ours, so it goes back to the
      // caller.
      CHECK(outcome.ok);
      CHECK_EQ(outcome.result.header.size(), kDataPrefixSize);
      CHECK_EQ(target.written.size(), bit / 8 < second_starts ? 0 : first.size());
    } else {
      CHECK_EQ(ErrorOf(outcome), at < kSectionHeaderSize ? "ERR_FRAME_HEADER" : "ERR_FRAME_CRC");
      CHECK(IsPrefix(target.written, first));
    }
    content[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  }
}

// A frame that was taken for another stream's is refused as soon as its bytes are read.
TEST(faults_a_flipped_stream_number_is_found_with_the_payload) {
  Bytes content = Frame({0, 3, 0, Pattern(40)});
  content[kSectionHeaderSize] ^= 1;
  const File file = File::Memory(content);
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kNone);
  spec.source.fd = file.fd();
  const TransferOutcome first = Run(spec);
  spec.source.header = first.result.header;
  spec.stream = 1;
  CHECK_EQ(ErrorOf(Run(spec)), "ERR_FRAME_CRC");
}

TEST(faults_each_truncation) {
  const Bytes first = Pattern(40, 1), second = Pattern(30, 2);
  const Bytes one = Frame({0, 3, 0, first});
  const Bytes content = Join(one, Frame({0, 3, 40, second}));
  for (size_t length = 0; length < content.size(); ++length) {
    Kernel target;
    const TransferOutcome outcome =
        Load(Bytes(content.begin(), content.begin() + static_cast<long>(length)), target);
    if (length == 0 || length == one.size()) {
      CHECK(outcome.ok);
      CHECK(outcome.result.end == TransferEnd::kZero);
    } else {
      CHECK_EQ(ErrorOf(outcome), "ERR_FRAME_TRUNCATED");
    }
    CHECK(IsPrefix(target.written, first));
  }
}

// The checksum is right; only a reader that takes every phase looks.
TEST(faults_frames_of_no_phase) {
  for (const uint32_t state : {0u, 1u, 2u, 4u, 5u, 8u, UINT32_MAX}) {
    Kernel target;
    const Bytes content = Join(Frame({0, 3, 0, Pattern(40)}), Frame({0, state, 40, Pattern(30)}));
    CHECK_EQ(ErrorOf(Load(content, target)), "ERR_FRAME_PHASE");
    CHECK(IsPrefix(target.written, Pattern(40)));
  }
}

TEST(faults_frames_out_of_order) {
  const Bytes a = Frame({0, 3, 0, Pattern(40)}), b = Frame({0, 3, 40, Pattern(30)});
  const Bytes c = Frame({0, 3, 70, Pattern(20)});
  for (const Bytes& content : {b, Join(a, a), Join(a, c), Join(Join(a, c), b)}) {
    Kernel target;
    CHECK_EQ(ErrorOf(Load(content, target)), "ERR_FRAME_ORDER");
    CHECK(IsPrefix(target.written, Pattern(40)));
  }
}

// Headers whose own checksum is right.
TEST(faults_sections_that_cannot_be_frames) {
  const struct {
    uint32_t flags;
    uint64_t length;
  } cases[] = {{0, 17},        {3, 17}, {0x80000001, 17}, {1, 0}, {1, 16}, {1, 17 + kMaxFrameBytes},
               {1, UINT64_MAX}};
  for (const auto& c : cases) {
    Bytes content(kSectionHeaderSize + 17);
    EncodeSectionHeader({kSectionTypeData, c.flags, c.length, 0}, content.data());
    Kernel target;
    CHECK_EQ(ErrorOf(Load(content, target)), "ERR_FRAME_HEADER");
    CHECK_EQ(target.writes.load(), 0u);
  }
}

TEST(faults_read_errors) {
  for (const int error : {EIO, ENODEV, EINVAL}) {
    Kernel source;
    source.data = Pattern(3 * kMiB);
    source.at_end = -error;
    const File file = File::Memory();
    TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
    spec.source.kernel = source.table();
    spec.source.fd = kDataFd;
    spec.sink.fd = file.fd();
    const TransferOutcome outcome = Run(spec);
    CHECK(!outcome.ok);
    CHECK_EQ(outcome.error.error, error);
    CHECK(outcome.error.code == nullptr);
    CHECK_EQ(SyscallOf(outcome), "read");
    CHECK(outcome.error.side == TransferSide::kSource);
    CHECK(outcome.error.bytes <= source.data.size());
  }
}

// Nothing was taken from the stream yet, so reading again is safe; writing again is not, see below.
TEST(faults_eintr_is_repeated_on_reads) {
  Kernel source;
  source.data = Pattern(100);
  source.before_read = [](size_t call, size_t) -> std::optional<long> {
    return call < 5 ? std::optional<long>(-EINTR) : std::nullopt;
  };
  const File file = File::Memory();
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kRaw);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = file.fd();
  CHECK(Run(spec).ok);
  CHECK(file.Content() == source.data);
}

// K-7 b: whatever the errno (EINTR and EAGAIN among them say nothing of what the driver took), no write
// follows it.
TEST(faults_no_write_follows_a_failed_one) {
  for (const int error : {EFAULT, ENOMEM, ENOSPC, EIO, EINTR, ENODEV}) {
    for (const size_t nth : {0, 1, 2}) {
      Kernel target;
      target.before_write = [=](size_t call, size_t) -> std::optional<long> {
        return call == nth ? std::optional<long>(-error) : std::nullopt;
      };
      Bytes content;
      for (uint64_t i = 0; i < 6; ++i) content = Join(content, Frame({0, 3, i * kMiB, Pattern(kMiB)}));
      const TransferOutcome outcome = Load(content, target);
      CHECK(!outcome.ok);
      CHECK_EQ(outcome.error.error, error);
      CHECK_EQ(SyscallOf(outcome), "write");
      CHECK(outcome.error.side == TransferSide::kSink);
      CHECK_EQ(outcome.error.bytes, nth * kMiB);
      CHECK_EQ(target.writes.load(), nth + 1);
    }
  }
}

TEST(faults_a_sink_that_takes_nothing) {
  Kernel target;
  target.before_write = [](size_t, size_t) { return 0; };
  const TransferOutcome outcome = Load(Frame({0, 3, 0, Pattern(100)}), target);
  CHECK_EQ(ErrorOf(outcome), "ERR_STALLED");
  CHECK(outcome.error.side == TransferSide::kSink);
  CHECK_EQ(target.writes.load(), 3u);
}

TEST(faults_a_driver_that_claims_too_much) {
  Kernel source;
  source.before_read = [](size_t, size_t length) { return static_cast<long>(length) + 1; };
  const File file = File::Memory();
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kRaw);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = file.fd();
  CHECK_EQ(ErrorOf(Run(spec)), std::to_string(EIO));
  Kernel target;
  target.before_write = source.before_read;
  CHECK_EQ(ErrorOf(Load(Frame({0, 3, 0, Pattern(100)}), target)), std::to_string(EIO));
}

TEST(faults_closed_pipe_is_an_errno) {
  Pipe pipe = MakePipe();
  pipe.reader.Close();
  Kernel source;
  source.data = Pattern(100);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kRaw);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = pipe.writer.fd();
  CHECK_EQ(ErrorOf(Run(spec)), std::to_string(EPIPE));
}

TEST(faults_full_disk) {
  const File full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  Kernel source;
  source.data = Pattern(100);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = full.fd();
  const TransferOutcome outcome = Run(spec);
  CHECK_EQ(ErrorOf(outcome), std::to_string(ENOSPC));
  CHECK_EQ(outcome.error.bytes, 0u);
}

TEST(faults_bad_descriptors) {
  TransferSpec spec = Spec(SourceKind::kRaw, SinkKind::kNone);
  spec.source.fd = 1'000'000;
  TransferError error;
  CHECK(Transfer::Create(spec, &error) == nullptr);
  CHECK_EQ(error.error, EBADF);
  CHECK(error.side == TransferSide::kSource);

  const File file = File::Memory();
  spec.source.fd = file.fd();
  spec.sink.kind = SinkKind::kRaw;
  spec.sink.kernel = nullptr;
  spec.sink.fd = 1'000'000;
  CHECK(Transfer::Create(spec, &error) == nullptr);
  CHECK(error.side == TransferSide::kSink);
}

// Buffers that go through while both sides take their time: after them there are two threads.
constexpr size_t kAlone = 32;
std::optional<long> TakeTime() {
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return std::nullopt;
}

// The other side blocks for ever: it must be got out.
TEST(faults_sink_fails_while_the_source_blocks) {
  Kernel source, target;
  source.data = Pattern((kAlone + 1) * kMiB);
  source.before_read = [&](size_t call, size_t) -> std::optional<long> {
    return call > kAlone ? std::optional<long>(Kernel::Block()) : TakeTime();
  };
  target.before_write = [&](size_t call, size_t) -> std::optional<long> {
    if (call < kAlone) return TakeTime();
    while (source.reads < kAlone + 2) std::this_thread::yield();
    return -EIO;
  };
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kDataFd);
  spec.source.kernel = source.table();
  spec.sink.kernel = target.table();
  spec.source.fd = spec.sink.fd = kDataFd;
  const TransferOutcome outcome = Run(spec);
  CHECK_EQ(ErrorOf(outcome), std::to_string(EIO));
  CHECK(outcome.error.side == TransferSide::kSink);
}

TEST(faults_source_fails_while_the_sink_blocks) {
  Kernel source, target;
  source.data = Pattern((kAlone + 1) * kMiB);
  source.before_read = [&](size_t call, size_t) -> std::optional<long> {
    if (call <= kAlone) return TakeTime();
    while (target.writes <= kAlone) std::this_thread::yield();
    return -ENODEV;
  };
  target.before_write = [](size_t call, size_t) { return call < kAlone ? TakeTime() : Kernel::Block(); };
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kDataFd);
  spec.source.kernel = source.table();
  spec.sink.kernel = target.table();
  spec.source.fd = spec.sink.fd = kDataFd;
  const TransferOutcome outcome = Run(spec);
  CHECK_EQ(ErrorOf(outcome), std::to_string(ENODEV));
  CHECK(outcome.error.side == TransferSide::kSource);
  CHECK_EQ(target.writes.load(), kAlone + 1);
}

TEST(faults_cancel_while_the_source_blocks) {
  for (const SinkKind sink : {SinkKind::kNone, SinkKind::kFrames}) {
    Kernel source;
    source.data = Pattern(10);
    source.before_read = [&](size_t call, size_t) -> std::optional<long> {
      return call > 0 ? std::optional<long>(Kernel::Block()) : std::nullopt;
    };
    const File file = File::Memory();
    TransferSpec spec = Spec(SourceKind::kDataFd, sink);
    spec.source.kernel = source.table();
    spec.source.fd = kDataFd;
    spec.sink.fd = file.fd();
    const TransferOutcome outcome = RunAndCancel(spec);
    CHECK_EQ(ErrorOf(outcome), "ERR_CANCELED");
    CHECK_EQ(outcome.error.bytes, 0u);
  }
}

TEST(faults_cancel_while_a_pipe_is_full) {
  const Pipe pipe = MakePipe();
  Kernel source;
  source.data = Pattern(8 * kMiB);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kRaw);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = pipe.writer.fd();
  const TransferOutcome outcome = RunAndCancel(spec);
  CHECK_EQ(ErrorOf(outcome), "ERR_CANCELED");
  CHECK(outcome.error.bytes > 0);
  CHECK(outcome.error.bytes < source.data.size());
}

TEST(faults_cancel_while_a_nonblocking_pipe_is_empty) {
  const Pipe pipe = MakePipe(O_NONBLOCK);
  TransferSpec spec = Spec(SourceKind::kRaw, SinkKind::kNone);
  spec.source.fd = pipe.reader.fd();
  CHECK_EQ(ErrorOf(RunAndCancel(spec)), "ERR_CANCELED");
}

TEST(faults_cancel_before_and_after) {
  Kernel source;
  source.data = Pattern(10);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kNone);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  TransferError error;
  const auto before = Transfer::Create(spec, &error);
  before->Cancel();
  CHECK_EQ(ErrorOf(before->Run()), "ERR_CANCELED");
  CHECK_EQ(source.reads.load(), 0u);

  const auto after = Transfer::Create(spec, &error);
  CHECK(after->Run().ok);
  after->Cancel();
}

// Wherever a cancel strikes, Run() comes back, with everything or with ERR_CANCELED.
TEST(faults_cancel_at_any_moment) {
  for (int i = 0; i < 60; ++i) {
    Kernel source;
    source.data = Pattern(4 * kMiB);
    const File file = File::Memory();
    TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
    spec.source.kernel = source.table();
    spec.source.fd = kDataFd;
    spec.sink.fd = file.fd();
    TransferError error;
    const auto transfer = Transfer::Create(spec, &error);
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 60));
      transfer->Cancel();
    });
    const TransferOutcome outcome = transfer->Run();
    canceller.join();
    CHECK(outcome.ok || ErrorOf(outcome) == "ERR_CANCELED");
    if (outcome.ok) CHECK_EQ(outcome.result.bytes, source.data.size());
  }
}
