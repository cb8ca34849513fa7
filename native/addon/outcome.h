/* What a request to the kernel gives: a value, or why there is none. No N-API, no exception. */
#ifndef VFIO_MIGRATE_ADDON_OUTCOME_H
#define VFIO_MIGRATE_ADDON_OUTCOME_H

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace vfm {

struct Failure {
  /* Positive errno; 0 when `code` says what happened. */
  int error = 0;
  /* ERR_CLOSED, ERR_BUSY, ERR_CANCELED, ERR_FRAME_* …; empty for an errno. */
  std::string code;
  std::string syscall;
  std::string path;
  /* Transfers: "source" or "sink", and the payload bytes that had reached the sink. */
  std::string side;
  std::optional<uint64_t> bytes;

  static Failure Errno(int error, std::string syscall, std::string path = {}) {
    Failure failure;
    failure.error = error;
    failure.syscall = std::move(syscall);
    failure.path = std::move(path);
    return failure;
  }
  static Failure Code(std::string code, std::string syscall = {}) {
    Failure failure;
    failure.code = std::move(code);
    failure.syscall = std::move(syscall);
    return failure;
  }
};

struct Nothing {};

template <class T>
class Outcome {
 public:
  Outcome(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Outcome(Failure failure) : held_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return held_.index() == 0; }
  T& value() { return std::get<0>(held_); }
  Failure& failure() { return std::get<1>(held_); }

 private:
  std::variant<T, Failure> held_;
};

}  // namespace vfm
#endif
