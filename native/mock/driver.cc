#include "mock/driver.h"

#include "mock/device.h"
#include "mock/fsm.h"
#include "mock/mock.h"

namespace vfm::mock {

uint64_t Driver::Flags() const {
  uint64_t flags = device_.config()->knobs.flags;
  if (!device_.mock().config.kernel.version.AtLeast(6, 2)) flags &= ~uapi::kMigrationPreCopy;
  return flags;
}

namespace {

uint32_t DelayOf(const MigrationKnobs& k, const std::string& arc) {
  auto it = k.arc_delay_ms.find(arc);
  return it == k.arc_delay_ms.end() ? k.delay_ms : it->second;
}

}  // namespace

long Driver::SetState(Call& call, uint32_t want, FilePtr& file) {
  auto config = device_.config();
  const MigrationKnobs& k = config->knobs;
  state_mutex_.lock();
  call.from = state_.load();
  call.to = want;
  int error = 0;
  // pds answers EIO there whatever is asked for, ERROR included.
  if (state_ == uapi::kStateError && want == uapi::kStateError && k.error_state_errno != EINVAL)
    error = -k.error_state_errno;
  while (error == 0 && state_ != want) {
    uint32_t from = state_;
    if (crashed_) {
      error = -EIO;
      break;
    }
    if (stopped_) {
      error = -EPERM;
      break;
    }
    std::optional<uint32_t> next = NextState(Flags(), from, want);
    if (!next) {
      stopped_ = k.refusal_stops;
      error = from == uapi::kStateError ? -k.error_state_errno : -EINVAL;
      break;
    }
    std::string arc = ArcName(from, *next);
    auto fault = device_.mock().faults.Meet(call, "arc", arc);
    if (fault) {
      if (fault->delay_ms != 0) SleepMs(fault->delay_ms, false);
      if (fault->hang) {
        Event never;
        error = never.Wait(never.Ticket());
      }
    }
    if (error == 0) error = SleepMs(DelayOf(k, arc), k.delay_interruptible);
    if (error == 0 && fault && fault->error != 0 && !fault->after) error = -fault->error;
    if (error == 0) error = Step(from, *next, file);
    if (error == 0) {
      state_ = *next;
      call.arcs += (call.arcs.empty() ? "" : " ") + arc;
      if (fault && fault->error != 0) error = -fault->error;
    }
    if (fault && fault->state) state_ = *fault->state;
    Changed();
    if (error != 0) break;
  }
  if (error != 0) file.reset();
  UnlockState();
  return error;
}

long Driver::GetState(Call& call, uint32_t& state) {
  return WithState([&](uint32_t now) -> long {
    if (crashed_) return -EIO;
    state = now;
    call.from = now;
    return 0;
  });
}

long Driver::WithState(const std::function<long(uint32_t)>& work) {
  state_mutex_.lock();
  Refresh();
  long result = work(state_.load());
  UnlockState();
  return result;
}

void Driver::ForceState(uint32_t state) {
  WithState([&](uint32_t) -> long {
    if (state == uapi::kStateRunning || state == uapi::kStateError) DisableFiles();
    state_ = state;
    Changed();
    return 0;
  });
}

void Driver::UnlockState() {
  for (;;) {
    reset_mutex_.lock();
    if (!deferred_reset_) break;
    deferred_reset_ = false;
    reset_mutex_.unlock();
    state_ = uapi::kStateRunning;
    crashed_ = false;
    stopped_ = false;
    DisableFiles();
    AfterReset();
    Changed();
  }
  state_mutex_.unlock();
  reset_mutex_.unlock();
}

long Driver::BusReset() {
  auto config = device_.config();
  const ResetKnobs& k = config->reset;
  if (!k.works) return -EINVAL;
  if (reset_again_.fetch_add(1) < k.again) return -EAGAIN;
  if (k.fails != 0) return -k.fails;
  return SleepMs(k.delay_ms, false);
}

long Driver::Reset(Call& call) {
  call.from = StateNow();
  if (long e = BusReset(); e != 0) return e;
  const bool waits = !device_.config()->reset.deferred;
  if (waits) state_mutex_.lock();
  reset_mutex_.lock();
  deferred_reset_ = true;
  const bool now = waits || state_mutex_.try_lock();
  reset_mutex_.unlock();
  if (!now) return 0;
  UnlockState();
  return 0;
}

void Driver::DisableFiles() {
  for (std::shared_ptr<MigFile>* f : {&saving_, &resuming_}) {
    if (*f != nullptr) (*f)->Disable();
    f->reset();
  }
}

void Driver::CloseDevice() {
  WithState([&](uint32_t) -> long {
    DisableFiles();
    return 0;
  });
  log_.Stop();
  reset_again_ = 0;
}

bool Driver::HasLogOps() const {
  return device_.config()->knobs.dirty_logging && device_.mock().config.kernel.version.AtLeast(6, 1);
}

long Driver::LogStart(uint64_t& page_size, std::vector<uapi::FeatureDmaLoggingRange> ranges) {
  auto config = device_.config();
  if (log_.running() && config->knobs.refuse_second_log_start) return -EINVAL;
  if (config->knobs.log_page_size != 0) page_size = config->knobs.log_page_size;
  log_.Start(page_size, std::move(ranges));
  return 0;
}

long Driver::LogStop() {
  log_.Stop();
  return 0;
}

long Driver::LogReport(const uapi::FeatureDmaLoggingReport& report) {
  auto config = device_.config();
  if (!log_.running()) return config->knobs.refuse_second_log_start ? -EINVAL : 0;
  log_.Work(config->knobs);
  return log_.Report(report);
}

void Driver::Dma(uint64_t iova, uint64_t length) {
  log_.Write(iova, length);
}

long Driver::Feature(Call&, uint32_t, uintptr_t, size_t) {
  return -ENOTTY;
}

void Driver::Describe(json::Value& out) {
  uint32_t state = StateNow();
  out.Set("state", StateName(state));
  out.Set("stateNumber", state);
  out.Set("crashed", crashed_.load());
  out.Set("stopped", stopped_.load());
  out.Set("logging", log_.running());
}

}  // namespace vfm::mock
