// Faults: named, aimed at the n-th call of a kind, repeatable. The table is asked before each call, before
// each arc a driver walks ("arc") and before each descriptor that is handed out ("alloc-fd").
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "mock/json.h"
#include "mock/log.h"
#include "mock/scenario.h"

namespace vfm::mock {

// "" when a fault can meet such a call or request, else the reason why not.
std::string CheckCallName(const std::string& name);
std::string CheckRequestName(const std::string& name);
// The request's name as the log and the faults have it; `fd_kind` decides, because numbers are used twice.
// `feature_flags`: VFIO_DEVICE_FEATURE only.
std::string RequestName(const std::string& fd_kind, unsigned long request, uint32_t feature_flags);

class FaultTable {
 public:
  // Replaces all faults; their counts start again.
  void Set(std::vector<FaultConfig> faults);
  // The first fault that meets this; its name goes into the call. `what` is the call's name, "arc" or
  // "alloc-fd".
  std::optional<FaultConfig> Meet(Call& call, const std::string& what, const std::string& arc = "");
  // [{name, matched, fired}]
  json::Value Dump() const;

 private:
  struct Entry {
    FaultConfig config;
    uint64_t matched = 0;
    uint64_t fired = 0;
  };
  mutable std::mutex lock_;
  std::vector<Entry> entries_;
};

}  // namespace vfm::mock
