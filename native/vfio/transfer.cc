#include "transfer.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "transfer_reader.h"

namespace vfm {
namespace {

// A sink that takes nothing is asked this often (K-7 a).
constexpr int kZeroWrites = 3;

// How many buffers are moved to find out whether one thread is faster or two, and how many in the faster way
// before it is found out again: by then the sink's cache may be full, or other processes may want the
// processors.
constexpr size_t kTrial = 16;
constexpr size_t kStay = 256;
// What handing a buffer to another thread costs at the least. Two threads save the time of the faster side,
// so when that takes less there is nothing to be found out.
constexpr uint64_t kHandOverNs = 20'000;

bool HasSeveralProcessors() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) > 1;
}

}  // namespace

const char* TransferEndName(TransferEnd end) {
  static constexpr const char* kNames[] = {"zero", "enomsg", "header", "limit"};
  return kNames[static_cast<size_t>(end)];
}

class Transfer::Pump {
 public:
  explicit Pump(TransferSpec spec) : spec_(std::move(spec)) {}

  // Descriptors and buffers that need the spec at its final address.
  bool Open(TransferError* error) {
    Port source, sink;
    if (!OpenEnd(spec_.source.kind == SourceKind::kDataFd, spec_.source.kernel, spec_.source.fd, &source,
                 TransferSide::kSource, error) ||
        (spec_.sink.kind != SinkKind::kNone &&
         !OpenEnd(spec_.sink.kind == SinkKind::kDataFd, spec_.sink.kernel, spec_.sink.fd, &sink,
                  TransferSide::kSink, error))) {
      return false;
    }
    reader_ = TransferReader::Create(spec_, std::move(source));
    sink_ = std::move(sink);
    return true;
  }

  TransferOutcome Run() {
    const uint64_t start = MonotonicNs();
    const Interruptible::Attachment attachment(writing_);
    MoveAll();

    const std::lock_guard lock(mutex_);
    TransferOutcome outcome;
    outcome.ok = !stopped_;
    if (outcome.ok) {
      finished_ = true;
      outcome.result = reader_->result();
      outcome.result.bytes = progress_;
      outcome.result.start_ns = start;
      outcome.result.end_ns = MonotonicNs();
    } else {
      outcome.error = error_;
      outcome.error.bytes = progress_;
    }
    return outcome;
  }

  // The first one counts. Gets both threads out of whatever they wait for.
  void Stop(const TransferError& error) {
    {
      const std::lock_guard lock(mutex_);
      if (finished_ || stopped_) return;
      stopped_ = true;
      error_ = error;
    }
    changed_.notify_all();
    if (spec_.sink.output) spec_.sink.output->Wake();
    reading_.Interrupt();
    writing_.Interrupt();
  }

  [[nodiscard]] uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 private:
  static bool OpenEnd(bool is_data_fd, const vfm_kernel* kernel, int fd, Port* port, TransferSide side,
                      TransferError* error) {
    if (is_data_fd) {
      *port = Port(kernel, fd);
      return true;
    }
    const int result = port->OpenDuplicate(fd);
    if (result < 0) *error = {.error = -result, .syscall = "fcntl", .side = side};
    return result >= 0;
  }

  // In the way that proves to be the faster one: how much two threads give depends on what both sides wait
  // for, and on what else the machine does.
  void MoveAll() {
    const bool may_share = spec_.sink.kind != SinkKind::kNone && HasSeveralProcessors();
    for (;;) {
      const Trial one = Try([this] { return RunOneThread(kTrial); });
      if (!one.more) return;
      if (!may_share || std::min(reading_ns_, writing_ns_) < kTrial * kHandOverNs) continue;
      const Trial two = Try([this] { return RunTwoThreads(kTrial); });
      if (!two.more) return;
      if (!(two.ns_per_byte < one.ns_per_byte ? RunTwoThreads(kStay) : RunOneThread(kStay))) return;
    }
  }

  struct Trial {
    bool more;
    double ns_per_byte;
  };
  template <class Way>
  Trial Try(Way way) {
    const uint64_t start = MonotonicNs(), before = progress();
    const bool more = way();
    return {more, static_cast<double>(MonotonicNs() - start) /
                      static_cast<double>(std::max<uint64_t>(progress() - before, 1))};
  }

  // Moves so many buffers. False when that was all, or it failed. Notes what either side took.
  bool RunOneThread(size_t buffers) {
    const Interruptible::Attachment attachment(reading_);
    Slot& slot = slots_[0];
    reading_ns_ = writing_ns_ = 0;
    for (uint64_t start = MonotonicNs(); buffers > 0; --buffers) {
      Empty(slot);
      if (!Fill(slot)) return false;
      const uint64_t filled = MonotonicNs();
      if (!Drain(slot) || slot.last) return false;
      const uint64_t drained = MonotonicNs();
      reading_ns_ += filled - start;
      writing_ns_ += drained - filled;
      start = drained;
    }
    return true;
  }

  // The same with a second thread that reads while this one writes; without it where none can be had.
  bool RunTwoThreads(size_t buffers) {
    std::thread reader;
    try {
      reader = std::thread([this, buffers] { ReadAll(buffers); });
    } catch (const std::system_error&) {
      return RunOneThread(buffers);
    }
    const bool more = WriteAll(buffers);
    reader.join();
    return more;
  }

  // Thread of its own, until it has filled so many slots, or the last one, or somebody called Stop().
  void ReadAll(size_t buffers) {
    const Interruptible::Attachment attachment(reading_);
    for (size_t i = 0; buffers > 0; i ^= 1, --buffers) {
      Slot& slot = slots_[i];
      if (!WaitUntil(slot, false)) return;
      Empty(slot);
      if (!Fill(slot)) return;
      const bool last = slot.last;
      Hand(slot, true);
      if (last) return;
    }
  }

  // The caller's thread.
  bool WriteAll(size_t buffers) {
    for (size_t i = 0; buffers > 0; i ^= 1, --buffers) {
      Slot& slot = slots_[i];
      if (!WaitUntil(slot, true) || !Drain(slot) || slot.last) return false;
      Hand(slot, false);
    }
    return true;
  }

  // Waits until the slot belongs to the caller; false when the transfer has been stopped.
  bool WaitUntil(const Slot& slot, bool full) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || slot.full == full; });
    return !stopped_;
  }

  void Hand(Slot& slot, bool full) {
    {
      const std::lock_guard lock(mutex_);
      slot.full = full;
    }
    changed_.notify_all();
  }

  static void Empty(Slot& slot) {
    slot.bytes = slot.prefix = 0;
    slot.last = false;
  }

  bool Fill(Slot& slot) {
    try {
      if (reader_->Fill(reading_, slot)) return true;
      Stop(reader_->error());
    } catch (const std::bad_alloc&) {
      Stop({.error = ENOMEM, .side = TransferSide::kSource});
    }
    return false;
  }

  bool Drain(const Slot& slot) {
    if (spec_.sink.kind == SinkKind::kNone) {
      progress_.fetch_add(slot.bytes, std::memory_order_relaxed);
      return true;
    }
    // An end without bytes may have no memory either.
    if (slot.bytes == 0) return true;
    FrameOutput* output = spec_.sink.output.get();
    if (output == nullptr) return Write(slot);
    if (!output->Begin([this] { return stopped(); })) return SinkFailed(kInterrupted);
    const bool whole = Write(slot);
    output->End(whole, slot.crc, slot.prefix + slot.bytes);
    return whole;
  }

  bool stopped() {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

  bool Write(const Slot& slot) {
    const uint8_t* next = slot.buffer.payload() - slot.prefix;
    size_t left = slot.prefix + slot.bytes;
    const size_t most = sink_.is_data_fd() && spec_.segment != 0 ? spec_.segment : SIZE_MAX;
    for (int zeros = 0; left != 0;) {
      const long took = sink_.Write(writing_, next, std::min(left, most));
      if (took < 0) return SinkFailed(took);
      if (took == 0 && ++zeros == kZeroWrites) return SinkFailed(0);
      if (took == 0) continue;
      zeros = 0;
      const size_t payload_left = std::min(left, slot.bytes);
      next += took;
      left -= static_cast<size_t>(took);
      progress_.fetch_add(payload_left - std::min(left, slot.bytes), std::memory_order_relaxed);
    }
    return true;
  }

  bool SinkFailed(long result) {
    if (result == 0) {
      Stop({.code = "ERR_STALLED", .syscall = "write", .side = TransferSide::kSink});
    } else if (result == kInterrupted) {
      Stop({.code = "ERR_CANCELED", .side = TransferSide::kSink});
    } else {
      Stop({.error = static_cast<int>(-result), .syscall = "write", .side = TransferSide::kSink});
    }
    return false;
  }

  const TransferSpec spec_;
  std::unique_ptr<TransferReader> reader_;
  Port sink_;
  // With two threads slot i belongs to the writer while `full`, else to the reader.
  Slot slots_[2];
  Interruptible reading_, writing_;
  uint64_t reading_ns_ = 0, writing_ns_ = 0;
  std::atomic<uint64_t> progress_{0};

  std::mutex mutex_;  // Slot::full and what follows
  std::condition_variable changed_;
  bool stopped_ = false;
  bool finished_ = false;
  TransferError error_;
};

std::string Transfer::Check(const TransferSpec& spec) {
  const bool from_data_fd = spec.source.kind == SourceKind::kDataFd;
  const bool to_data_fd = spec.sink.kind == SinkKind::kDataFd;
  const bool from_frames = spec.source.kind == SourceKind::kFrames;
  const bool to_frames = spec.sink.kind == SinkKind::kFrames;
  const size_t given = spec.source.header.size();
  const struct {
    bool wrong;
    const char* why;
  } rules[] = {
      {from_data_fd != (spec.source.kernel != nullptr),
       "a data-fd source needs a kernel, another must have none"},
      {to_data_fd != (spec.sink.kernel != nullptr), "a data-fd sink needs a kernel, another must have none"},
      {spec.source.fd < 0 || (spec.sink.kind != SinkKind::kNone && spec.sink.fd < 0), "fd is negative"},
      {from_frames && to_frames, "frames to frames: copy the file instead"},
      {to_frames && !spec.phase, "phase is needed to write frames"},
      {spec.frame_size < 1 || spec.frame_size > kMaxFrameBytes, "frameSize must be 1 .. 16777216"},
      {spec.source.hop && !from_frames, "hop is for frames"},
      {spec.sink.output && !to_frames, "output is for frames"},
      {from_frames && spec.limit, "limit is for raw and data-fd sources"},
      {given != 0 && (!from_frames || (given != kSectionHeaderSize && given != kDataPrefixSize)),
       "header is for frames, and has 24 or 40 bytes"},
  };
  for (const auto& rule : rules) {
    if (rule.wrong) return rule.why;
  }
  return {};
}

std::unique_ptr<Transfer> Transfer::Create(TransferSpec spec, TransferError* error) {
  auto pump = std::make_unique<Pump>(std::move(spec));
  if (!pump->Open(error)) return nullptr;
  return std::unique_ptr<Transfer>(new Transfer(std::move(pump)));
}

Transfer::Transfer(std::unique_ptr<Pump> pump) : pump_(std::move(pump)) {}
Transfer::~Transfer() = default;

TransferOutcome Transfer::Run() {
  return pump_->Run();
}
void Transfer::Cancel() {
  pump_->Stop({.code = "ERR_CANCELED", .side = TransferSide::kSource});
}
uint64_t Transfer::progress() const {
  return pump_->progress();
}

}  // namespace vfm
