#include "mock/log.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include "mock/errnos.h"
#include "mock/fsm.h"
#include "mock/wait.h"

namespace vfm::mock {

namespace {

json::Value Line(const Call& c) {
  json::Value v = json::Value::Object();
  v.Set("seq", c.seq);
  // As text: 64 bits do not fit a number of JavaScript.
  v.Set("ns", std::to_string(c.ns));
  v.Set("durationNs", std::to_string(c.duration_ns));
  v.Set("tid", c.tid);
  v.Set("call", c.name);
  if (c.fd >= 0) v.Set("fd", c.fd);
  if (!c.fd_kind.empty()) v.Set("fdKind", c.fd_kind);
  if (!c.device.empty()) v.Set("device", c.device);
  if (!c.path.empty()) v.Set("path", c.path);
  if (!c.request.empty()) v.Set("request", c.request);
  if (c.from) v.Set("from", StateName(*c.from));
  if (c.to) v.Set("to", StateName(*c.to));
  if (!c.arcs.empty()) v.Set("arcs", c.arcs);
  if (c.length) v.Set("length", *c.length);
  if (c.offset) v.Set("offset", std::to_string(*c.offset));
  v.Set("result", c.result);
  if (c.result < 0) v.Set("errno", ErrnoName(static_cast<int>(-c.result)));
  if (!c.fault.empty()) v.Set("fault", c.fault);
  return v;
}

}  // namespace

void CallLog::Start(Call& call) {
  static thread_local const int tid = static_cast<int>(syscall(SYS_gettid));
  call.tid = tid;
  call.ns = MonotonicNs();
  std::lock_guard hold(lock_);
  call.seq = next_++;
}

void CallLog::Finish(Call& call) {
  call.duration_ns = MonotonicNs() - call.ns;
  std::string key = call.name;
  if (!call.request.empty()) key += " " + call.request;
  std::lock_guard hold(lock_);
  counts_[key]++;
  if (call.result > 0 && call.fd_kind == "data")
    (std::string_view(call.name) == "read" ? bytes_read_ : bytes_written_) +=
        static_cast<uint64_t>(call.result);
  if (ring_.size() >= limit_) {
    dropped_++;
    if (limit_ == 0) return;
    ring_.pop_front();
  }
  ring_.push_back(call);
}

void CallLog::Clear() {
  std::lock_guard hold(lock_);
  ring_.clear();
  counts_.clear();
  dropped_ = bytes_read_ = bytes_written_ = 0;
}

json::Value CallLog::Dump() const {
  std::lock_guard hold(lock_);
  json::Value calls = json::Value::Array();
  for (const Call& c : ring_) calls.Push(Line(c));
  json::Value counts = json::Value::Object();
  for (const auto& [key, n] : counts_) counts.Set(key, n);
  json::Value v = json::Value::Object();
  v.Set("calls", std::move(calls));
  v.Set("counts", std::move(counts));
  v.Set("dropped", dropped_);
  v.Set("bytesRead", std::to_string(bytes_read_));
  v.Set("bytesWritten", std::to_string(bytes_written_));
  return v;
}

}  // namespace vfm::mock
