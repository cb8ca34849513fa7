// What a transfer moves when nothing goes wrong, and where it ends.
#include "vfio/transfer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_kernel.h"
#include "vfio/crc32c.h"

using namespace vfm;
using namespace fake;

namespace {

constexpr size_t kMiB = 1u << 20;
const Bytes kEndSection = Section('E' | 'N' << 8 | 'D' << 16 | ' ' << 24, kSectionCritical, Bytes(32));

Bytes Concatenate(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace

// AC-K7-1: any split of the reads and of the writes; the target sees the same bytes.
TEST(transfer_save_and_load_any_split) {
  std::mt19937 random(1);
  const size_t sizes[] = {0, 1, 24, 96, 4096, kMiB - 1, kMiB, kMiB + 1, 5 * kMiB + 12345};
  const size_t splits[] = {7, 24, 25, 4095, 4096, kMiB, SIZE_MAX};
  const uint32_t frame_sizes[] = {1000, 65536, kDefaultFrameBytes, 3u << 20, kMaxFrameBytes};
  for (const size_t size : sizes) {
    for (int round = 0; round < 4; ++round) {
      Kernel source, target;
      source.data = Pattern(size);
      const auto any = [&] { return splits[random() % std::size(splits)]; };
      const size_t read_split = size > kMiB ? std::max<size_t>(any(), 4095) : any();
      const size_t write_split = size > kMiB ? std::max<size_t>(any(), 4095) : any();
      source.next_read = [=](size_t) { return read_split; };
      target.next_write = [=](size_t) { return write_split; };

      TransferSpec save = Spec(SourceKind::kDataFd, SinkKind::kFrames);
      save.frame_size = frame_sizes[random() % std::size(frame_sizes)];
      save.stream = 2;
      save.phase = 6;
      save.offset = 1000;
      save.crc = 0xdeadbeef;
      TransferOutcome saved;
      const Bytes file = SaveFrames(source, save, &saved);
      CHECK(saved.ok);
      CHECK(saved.result.end == TransferEnd::kZero);
      CHECK_EQ(saved.result.bytes, size);
      CHECK_EQ(saved.result.offset, 1000 + size);
      CHECK_EQ(saved.result.frames, (size + save.frame_size - 1) / save.frame_size);
      CHECK_EQ(file.size(), size + saved.result.frames * kDataPrefixSize);
      CHECK_EQ(saved.result.crc, Crc32c(0xdeadbeef, file.data(), file.size()));

      TransferSpec load = Spec(SourceKind::kFrames, SinkKind::kDataFd);
      load.stream = 2;
      load.phase = 6;
      load.offset = 1000;
      load.crc = 0xdeadbeef;
      const TransferOutcome loaded = LoadFrames(file, target, load);
      CHECK(loaded.ok);
      CHECK(target.written == source.data);
      CHECK_EQ(loaded.result.bytes, size);
      CHECK_EQ(loaded.result.frames, saved.result.frames);
      CHECK_EQ(loaded.result.crc, saved.result.crc);
      CHECK_EQ(loaded.result.offset, saved.result.offset);
    }
  }
}

// The frames are the ones that the plain writer makes.
TEST(transfer_frames_equal_the_plain_writer) {
  Kernel source;
  source.data = Pattern(2500);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
  spec.frame_size = 1000;
  spec.stream = 1;
  TransferOutcome outcome;
  const Bytes file = SaveFrames(source, spec, &outcome);
  const auto part = [&](size_t from, size_t to) {
    return Bytes(source.data.begin() + static_cast<long>(from), source.data.begin() + static_cast<long>(to));
  };
  CHECK(file == Concatenate({Frame({1, 3, 0, part(0, 1000)}), Frame({1, 3, 1000, part(1000, 2000)}),
                             Frame({1, 3, 2000, part(2000, 2500)})}));
}

TEST(transfer_short_reads_fill_whole_frames) {
  Kernel source;
  source.data = Pattern(3 * kMiB);
  source.next_read = [](size_t) { return 5000; };
  TransferOutcome outcome;
  SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome);
  CHECK_EQ(outcome.result.frames, 3u);
}

// uAPI §2.4: ENOMSG is the end of what is there now, on a data fd. K-8.
TEST(transfer_ends_at_enomsg) {
  Kernel source;
  source.data = Pattern(100);
  source.at_end = -ENOMSG;
  TransferOutcome outcome;
  const Bytes file = SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome);
  CHECK(outcome.ok);
  CHECK(outcome.result.end == TransferEnd::kEnomsg);
  CHECK(file == Frame({0, 3, 0, source.data}));
}

TEST(transfer_nothing_to_move_writes_no_frame) {
  Kernel source;
  TransferOutcome outcome;
  CHECK_EQ(SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome).size(), 0u);
  CHECK(outcome.ok);
  CHECK_EQ(outcome.result.frames, 0u);
  CHECK_EQ(outcome.result.first_byte_ns, 0u);
}

TEST(transfer_limit_takes_no_byte_too_many) {
  for (const uint64_t limit : {uint64_t{0}, uint64_t{1}, uint64_t{kMiB}, uint64_t{kMiB + 5}}) {
    Kernel source;
    source.data = Pattern(2 * kMiB);
    TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
    spec.limit = limit;
    TransferOutcome outcome;
    SaveFrames(source, spec, &outcome);
    CHECK(outcome.result.end == TransferEnd::kLimit);
    CHECK_EQ(outcome.result.bytes, limit);
    TransferSpec rest = Spec(SourceKind::kDataFd, SinkKind::kFrames);
    SaveFrames(source, rest, &outcome);
    CHECK_EQ(outcome.result.bytes, 2 * kMiB - limit);
  }
}

// Phase by phase, then the section that follows: headers go back and forth, and the CRC runs through.
TEST(transfer_phases_and_the_header_that_ends_them) {
  const Bytes early = Pattern(5000, 1), late = Pattern(3 * kMiB + 7, 2);
  const Bytes content = Concatenate({Frame({0, 6, 0, early}), Frame({0, 3, 5000, late}), kEndSection});
  const File file = File::Memory(content);

  Kernel target;
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kDataFd);
  spec.source.fd = file.fd();
  spec.sink.kernel = target.table();
  spec.sink.fd = kDataFd;
  spec.phase = 6;
  spec.crc = 77;
  const TransferOutcome first = Run(spec);
  CHECK(first.result.end == TransferEnd::kHeader);
  CHECK_EQ(first.result.header.size(), kDataPrefixSize);
  CHECK_EQ(first.result.bytes, early.size());

  spec.phase = 3;
  spec.source.header = first.result.header;
  spec.offset = first.result.offset;
  spec.crc = first.result.crc;
  const TransferOutcome second = Run(spec);
  CHECK(second.result.end == TransferEnd::kHeader);
  CHECK(second.result.header == Bytes(kEndSection.begin(), kEndSection.begin() + kSectionHeaderSize));
  CHECK_EQ(second.result.bytes, late.size());
  CHECK(target.written == Concatenate({early, late}));
  CHECK_EQ(second.result.crc, Crc32c(77, content.data(), content.size() - kEndSection.size()));

  // The header that the caller has read is looked at like any other.
  spec.source.header = second.result.header;
  spec.crc = second.result.crc;
  const TransferOutcome third = Run(spec);
  CHECK(third.result.end == TransferEnd::kHeader);
  CHECK_EQ(third.result.bytes, 0u);
  CHECK_EQ(third.result.crc, second.result.crc);
  CHECK(third.result.header == second.result.header);
}

TEST(transfer_all_phases_with_a_given_section_header) {
  const Bytes content =
      Concatenate({Frame({0, 6, 0, Pattern(10)}), Frame({0, 3, 10, Pattern(20)}), kEndSection});
  const File file = File::Memory(Bytes(content.begin() + kSectionHeaderSize, content.end()));
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kNone);
  spec.source.fd = file.fd();
  spec.source.header = Bytes(content.begin(), content.begin() + kSectionHeaderSize);
  const TransferOutcome outcome = Run(spec);
  CHECK(outcome.ok);
  CHECK_EQ(outcome.result.bytes, 30u);
  CHECK_EQ(outcome.result.frames, 2u);
  CHECK_EQ(outcome.result.crc, Crc32c(0, content.data(), content.size() - kEndSection.size()));
}

TEST(transfer_another_stream_ends_it) {
  const Bytes content = Concatenate({Frame({0, 3, 0, Pattern(10)}), Frame({1, 3, 0, Pattern(20)})});
  const File file = File::Memory(content);
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kNone);
  spec.source.fd = file.fd();
  const TransferOutcome outcome = Run(spec);
  CHECK(outcome.result.end == TransferEnd::kHeader);
  CHECK_EQ(outcome.result.header.size(), kDataPrefixSize);
  CHECK_EQ(outcome.result.bytes, 10u);
}

// K-7 c: whatever the frames' borders, a data fd gets at least 1 MiB at once, or the rest.
TEST(transfer_small_frames_arrive_in_large_writes) {
  std::mt19937 random(2);
  std::vector<Bytes> frames;
  Bytes all;
  while (all.size() < 5 * kMiB) {
    const Bytes bytes = Pattern(1 + random() % 300'000, static_cast<uint32_t>(all.size()));
    frames.push_back(Frame({0, 3, all.size(), bytes}));
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  Kernel target;
  CHECK(LoadFrames(Concatenate(frames), target, Spec(SourceKind::kFrames, SinkKind::kDataFd)).ok);
  CHECK(target.written == all);
  CHECK(target.write_lengths.size() >= 2);
  for (size_t i = 0; i + 1 < target.write_lengths.size(); ++i) CHECK(target.write_lengths[i] >= kMiB);
}

TEST(transfer_a_small_state_arrives_in_one_write) {
  Kernel target;
  const Bytes content = Concatenate({Frame({0, 3, 0, Pattern(24)}), Frame({0, 3, 24, Pattern(72)})});
  CHECK(LoadFrames(content, target, Spec(SourceKind::kFrames, SinkKind::kDataFd)).ok);
  CHECK(target.write_lengths == std::vector<size_t>{96});
}

TEST(transfer_segment_limits_writes_to_a_data_fd) {
  Kernel target;
  TransferSpec spec = Spec(SourceKind::kFrames, SinkKind::kDataFd);
  spec.segment = 1000;
  CHECK(LoadFrames(Frame({0, 3, 0, Pattern(2500)}), target, spec).ok);
  CHECK(target.write_lengths == (std::vector<size_t>{1000, 1000, 500}));
}

// K-7 a: the rest of a short write follows; 0 twice is not yet an end.
TEST(transfer_short_writes_and_zeros_are_continued) {
  Kernel target;
  const Bytes data = Pattern(100);
  target.next_write = [](size_t) { return 7; };
  target.before_write = [](size_t call, size_t) -> std::optional<long> {
    return call % 3 == 2 ? std::nullopt : std::optional<long>(0);
  };
  CHECK(LoadFrames(Frame({0, 3, 0, data}), target, Spec(SourceKind::kFrames, SinkKind::kDataFd)).ok);
  CHECK(target.written == data);
}

TEST(transfer_raw_both_ways) {
  const Bytes data = Pattern(2 * kMiB + 3);
  const File raw = File::Memory(data), frames = File::Memory(), back = File::Memory();
  TransferSpec pack = Spec(SourceKind::kRaw, SinkKind::kFrames);
  pack.source.fd = raw.fd();
  pack.sink.fd = frames.fd();
  CHECK(Run(pack).ok);
  frames.Rewind();
  TransferSpec extract = Spec(SourceKind::kFrames, SinkKind::kRaw);
  extract.source.fd = frames.fd();
  extract.sink.fd = back.fd();
  CHECK(Run(extract).ok);
  CHECK(back.Content() == data);
}

TEST(transfer_data_fd_to_data_fd) {
  Kernel source, target;
  source.data = Pattern(3 * kMiB + 1);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kDataFd);
  spec.source.kernel = source.table();
  spec.source.fd = spec.sink.fd = kDataFd;
  spec.sink.kernel = target.table();
  spec.crc = 5;
  const TransferOutcome outcome = Run(spec);
  CHECK(outcome.ok);
  CHECK(target.written == source.data);
  CHECK_EQ(outcome.result.crc, 5u);
}

TEST(transfer_through_nonblocking_pipes) {
  const Bytes data = Pattern(6 * kMiB);
  Pipe in = MakePipe(O_NONBLOCK), out = MakePipe(O_NONBLOCK);
  Bytes received;
  std::thread feeder([&] {
    fcntl(in.writer.fd(), F_SETFL, 0);
    for (size_t done = 0; done < data.size();) {
      const ssize_t put =
          write(in.writer.fd(), data.data() + done, std::min<size_t>(9999, data.size() - done));
      if (put <= 0) break;
      done += static_cast<size_t>(put);
    }
    in.writer.Close();
  });
  std::thread taker([&] {
    fcntl(out.reader.fd(), F_SETFL, 0);
    Bytes buffer(12345);
    for (ssize_t got; (got = read(out.reader.fd(), buffer.data(), buffer.size())) > 0;) {
      received.insert(received.end(), buffer.begin(), buffer.begin() + got);
    }
  });
  TransferSpec spec = Spec(SourceKind::kRaw, SinkKind::kRaw);
  spec.source.fd = in.reader.fd();
  spec.sink.fd = out.writer.fd();
  CHECK(Run(spec).ok);
  out.writer.Close();
  feeder.join();
  taker.join();
  CHECK(received == data);
}

// A driver whose poll says "ready" while its read says EAGAIN: waited for, and not at full speed.
TEST(transfer_eagain_of_a_data_fd_is_waited_out) {
  Kernel source;
  source.data = Pattern(100);
  source.before_read = [](size_t call, size_t) -> std::optional<long> {
    return call < 20 ? std::optional<long>(-EAGAIN) : std::nullopt;
  };
  TransferOutcome outcome;
  SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome);
  CHECK(outcome.ok);
  CHECK_EQ(outcome.result.bytes, 100u);
  CHECK_EQ(source.polls.load(), 20u);
  CHECK(outcome.result.end_ns - outcome.result.start_ns > 15'000'000);
}

TEST(transfer_works_on_duplicates) {
  const Bytes data = Pattern(1000);
  File in = File::Memory(data);
  const File out = File::Memory();
  TransferSpec spec = Spec(SourceKind::kRaw, SinkKind::kRaw);
  spec.source.fd = in.fd();
  spec.sink.fd = out.fd();
  TransferError error;
  const auto transfer = Transfer::Create(spec, &error);
  CHECK(transfer != nullptr);
  in.Close();
  CHECK(transfer->Run().ok);
  CHECK(out.Content() == data);
}

TEST(transfer_closes_its_duplicates) {
  Pipe pipe = MakePipe();
  Kernel source;
  source.data = Pattern(10);
  TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kRaw);
  spec.source.kernel = source.table();
  spec.source.fd = kDataFd;
  spec.sink.fd = pipe.writer.fd();
  CHECK(Run(spec).ok);
  pipe.writer.Close();
  char buffer[20];
  CHECK_EQ(read(pipe.reader.fd(), buffer, sizeof(buffer)), 10);
  CHECK_EQ(read(pipe.reader.fd(), buffer, sizeof(buffer)), 0);  // nobody else holds the writing end
}

TEST(transfer_times_are_in_order) {
  Kernel source;
  source.data = Pattern(3 * kMiB);
  TransferOutcome outcome;
  SaveFrames(source, Spec(SourceKind::kDataFd, SinkKind::kFrames), &outcome);
  CHECK(outcome.result.start_ns > 0);
  CHECK(outcome.result.start_ns <= outcome.result.first_byte_ns);
  CHECK(outcome.result.first_byte_ns <= outcome.result.end_ns);
}

TEST(transfer_refuses_specs_without_sense) {
  Kernel kernel;
  const auto refused = [](TransferSpec spec) { CHECK(!Transfer::Check(spec).empty()); };
  const auto valid = [&] {
    TransferSpec spec = Spec(SourceKind::kDataFd, SinkKind::kFrames);
    spec.source.kernel = kernel.table();
    spec.source.fd = kDataFd;
    spec.sink.fd = 1;
    return spec;
  };
  CHECK_EQ(Transfer::Check(valid()), std::string());
  const std::vector<void (*)(TransferSpec&)> mistakes = {
      [](TransferSpec& s) { s.source.kernel = nullptr; },
      [](TransferSpec& s) { s.sink.kernel = s.source.kernel; },
      [](TransferSpec& s) { s.source.fd = -1; },
      [](TransferSpec& s) { s.sink.fd = -1; },
      [](TransferSpec& s) { s.phase.reset(); },
      [](TransferSpec& s) { s.frame_size = 0; },
      [](TransferSpec& s) { s.frame_size = kMaxFrameBytes + 1; },
      [](TransferSpec& s) { s.lesser_frame_size = s.frame_size + 1; },
      [](TransferSpec& s) { s.source.header.resize(kSectionHeaderSize); },
      [](TransferSpec& s) {
        s.source = {SourceKind::kFrames, nullptr, 0, {}};
        s.sink.kind = SinkKind::kFrames;
      },
      [](TransferSpec& s) {
        s.source = {SourceKind::kFrames, nullptr, 0, {}};
        s.sink.kind = SinkKind::kRaw;
        s.limit = 1;
      },
      [](TransferSpec& s) {
        s.source = {SourceKind::kFrames, nullptr, 0, Bytes(25)};
        s.sink.kind = SinkKind::kRaw;
      },
  };
  for (const auto mistake : mistakes) {
    TransferSpec spec = valid();
    mistake(spec);
    refused(spec);
  }
}
