// The mock kernel: everything that one table of system calls (native/kernel/kernel.h) talks to.
//
// Locks, outermost first: a group's, a device's state mutex, a data file's, and then those of the tables
// (descriptors, faults, log, configuration), which are held for moments only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mock/device.h"
#include "mock/fault.h"
#include "mock/file.h"
#include "mock/group.h"
#include "mock/log.h"
#include "mock/scenario.h"
#include "mock/stream_fault.h"
#include "mock/tree.h"

namespace vfm::mock {

class Mock {
 public:
  // `state_dir`: where devices that survive a process keep their state; empty for none. Throws ScenarioError.
  Mock(Scenario scenario, std::string state_dir);
  ~Mock();

  Device* FindDevice(const std::string& address) const;
  // What devices without a feature operation of their own answer to an unknown index (uAPI §1.3 rule 5).
  int UnknownFeatureErrno() const;
  // Replaces all faults, and forgets what the earlier ones have begun.
  void SetFaults(std::vector<FaultConfig> list);
  // A descriptor for a new file, unless a fault has it otherwise; -EMFILE.
  int InstallFd(Call& call, FilePtr file, bool cloexec);
  // JSON in, JSON out (docs/mock.md). 0 or a negated errno; `answer` is set in both cases.
  int Control(std::string_view request, std::string& answer);

  const Scenario config;
  const std::string state_dir;
  FdTable fds;
  Tree tree;
  FaultTable faults;
  StreamFaults streams;
  CallLog log;
  Attributes attributes{*this};
  std::map<uint32_t, std::unique_ptr<Group>> groups;
  std::vector<std::unique_ptr<Device>> devices;
};

// Fills the tree with what uAPI §6 lists.
void BuildTree(Mock& mock);

}  // namespace vfm::mock
