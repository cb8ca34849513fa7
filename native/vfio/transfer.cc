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

#include "clock.h"
#include "transfer_reader.h"
#include "transfer_way.h"

namespace vfm {
namespace {

// A sink that takes nothing is asked this often (K-7 a).
constexpr int kZeroWrites = 3;

// Buffers between two threads. With two, one side's hiccup stops the other; and the writer would take each
// buffer out of the cache of the reader's processor, which costs more than taking it out of the one they
// share.
constexpr size_t kSlots = 4;
// Buffers that hold more than this, and what stands around it, are two.
constexpr size_t kGreatSlot = (2u << 20) + 4096;

// A thread that waits no longer than that does not sleep: being woken would take as long.
constexpr uint64_t kSpinNs = 50'000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int Processors() {
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 2;
}

// Transfers that run in this process. When they are as many as the processors, a second thread for one would
// take its time from another.
std::atomic<int> running{0};

struct Running {
  Running() { running.fetch_add(1, std::memory_order_relaxed); }
  ~Running() { running.fetch_sub(1, std::memory_order_relaxed); }
};

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
    piped_ = source.is_pipe() || sink.is_pipe();
    reader_ = TransferReader::Create(spec_, std::move(source));
    sink_ = std::move(sink);
    return true;
  }

  TransferOutcome Run() {
    const uint64_t start = MonotonicNs();
    const Interruptible::Attachment attachment(writing_);
    const Running counted;
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
  // for, and on what else the machine does; which frames are the better ones for a pipe, on how its other end
  // reads.
  void MoveAll() {
    const int processors = spec_.sink.kind == SinkKind::kNone ? 1 : Processors();
    Stays stays;
    for (;;) {
      const bool crowded = running.load(std::memory_order_relaxed) >= processors;
      const Trial one = TryFrames(crowded);
      if (!one.more) return;
      // Soon looked at again: others come to their end.
      if (crowded) continue;
      bool share = one.times.CanBeShared(Buffers(kTrial), piped_);
      if (share) {
        const Trial two = Try([this] { return RunTwoThreads(Buffers(kTrial)); });
        if (!two.more) return;
        share = two.ns_per_byte < one.ns_per_byte;
      }
      const size_t stay = stays.In({share, frame_size_});
      if (!(share ? RunTwoThreads(Buffers(stay)) : RunOneThread(Buffers(stay)))) return;
    }
  }

  struct Trial {
    bool more;
    double ns_per_byte;
    StepTimes times;  // of one thread
  };
  template <class Run>
  Trial Try(Run run) {
    const bool more = run();
    return {more,
            static_cast<double>(MonotonicNs() - warm_ns_) /
                static_cast<double>(std::max<uint64_t>(progress() - warm_bytes_, 1)),
            times_};
  }

  // With one thread; stays with the frames that were faster.
  Trial TryFrames(bool crowded) {
    const auto with = [this](uint32_t bytes) {
      UseFrames(bytes);
      return Try([this] { return RunOneThread(Buffers(kTrial)); });
    };
    if (crowded && spec_.lesser_frame_size != 0) return with(spec_.lesser_frame_size);
    const Trial great = with(spec_.frame_size);
    if (!great.more || spec_.lesser_frame_size == 0 || !sink_.is_pipe()) return great;
    const Trial lesser = with(spec_.lesser_frame_size);
    if (!lesser.more || lesser.ns_per_byte < great.ns_per_byte) return lesser;
    UseFrames(spec_.frame_size);
    return great;
  }

  void UseFrames(uint32_t bytes) {
    frame_size_ = bytes;
    reader_->SetFrameSize(bytes);
  }

  // So many of the greatest, in what is used.
  [[nodiscard]] size_t Buffers(size_t count) const { return count * (spec_.frame_size / frame_size_); }

  // A way has moved a quarter of its buffers: its threads run, and the caches have what they will have.
  void Warm() {
    warm_ns_ = MonotonicNs();
    warm_bytes_ = progress();
  }

  // Moves so many buffers. False when that was all, or it failed. Notes what each step took.
  bool RunOneThread(size_t buffers) {
    const Interruptible::Attachment attachment(reading_);
    Slot& slot = slots_[0];
    times_ = {};
    uint64_t start = MonotonicNs();
    for (size_t i = 0; i < buffers; ++i) {
      if (i == buffers / 4) Warm();
      Empty(slot);
      if (!Fill(slot)) return false;
      const uint64_t filled = MonotonicNs();
      reader_->Seal(slot);
      const uint64_t sealed = MonotonicNs();
      if (!Drain(slot) || slot.last) return false;
      const uint64_t drained = MonotonicNs();
      times_.read += filled - start;
      times_.seal += sealed - filled;
      times_.write += drained - sealed;
      start = drained;
    }
    return true;
  }

  // The same with a second thread that reads while this one writes; without it where none can be had.
  bool RunTwoThreads(size_t buffers) {
    slots_used_ = slots_[0].buffer.capacity() > kGreatSlot ? 2 : kSlots;
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
    for (size_t i = 0; i < buffers; ++i) {
      Slot& slot = slots_[i % slots_used_];
      if (!WaitUntil(slot, false)) return;
      Empty(slot);
      if (!Fill(slot)) return;
      const bool last = slot.last;
      // Whoever has less to do seals.
      if (!writer_waits_) Seal(slot);
      Hand(slot, true);
      if (last) return;
    }
  }

  // The caller's thread.
  bool WriteAll(size_t buffers) {
    for (size_t i = 0; i < buffers; ++i) {
      Slot& slot = slots_[i % slots_used_];
      if (i == buffers / 4) Warm();
      if (!WaitUntil(slot, true)) return false;
      Seal(slot);
      if (!Drain(slot) || slot.last) return false;
      Hand(slot, false);
    }
    return true;
  }

  // Once for each slot.
  void Seal(Slot& slot) {
    if (!slot.sealed) reader_->Seal(slot);
    slot.sealed = true;
  }

  // Waits until the slot belongs to the caller; false when the transfer has been stopped.
  bool WaitUntil(const Slot& slot, bool full) {
    uint64_t& last = last_wait_[full ? 1 : 0];
    const uint64_t start = MonotonicNs();
    if (full) writer_waits_ = true;
    // Who waited long before will again.
    while (last <= kSpinNs && slot.full != full && MonotonicNs() - start <= kSpinNs) Pause();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopped_ || slot.full == full; });
    if (full) writer_waits_ = false;
    last = MonotonicNs() - start;
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
    slot.last = slot.sealed = false;
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

  // Writes what is sealed.
  bool Drain(const Slot& slot) {
    reader_->Count(slot);
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
  bool piped_ = false;
  // With two threads slot i belongs to the writer while `full`, else to the reader.
  Slot slots_[kSlots];
  size_t slots_used_ = kSlots;
  uint32_t frame_size_ = 1;
  Interruptible reading_, writing_;
  StepTimes times_;
  uint64_t warm_ns_ = 0, warm_bytes_ = 0;
  std::atomic<uint64_t> progress_{0};
  std::atomic<bool> writer_waits_{false};
  uint64_t last_wait_[2] = {};  // nanoseconds: the reader's, the writer's

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
      {spec.lesser_frame_size > spec.frame_size, "lesserFrameSize is greater than frameSize"},
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
