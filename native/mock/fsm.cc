#include "mock/fsm.h"

#include "vfio/uapi.h"

namespace vfm::mock {

namespace {

constexpr uint32_t ERR = uapi::kStateError, STOP = uapi::kStateStop, RUN = uapi::kStateRunning,
                   SCOPY = uapi::kStateStopCopy, RESUM = uapi::kStateResuming, RP2P = uapi::kStateRunningP2p,
                   PCOPY = uapi::kStatePreCopy, PP2P = uapi::kStatePreCopyP2p, COUNT = uapi::kStateCount;

// First step for a device that supports every state; ERR: refused. Row: where it is. Column: what is wanted,
// in the order of the states' numbers.
// clang-format off
constexpr uint32_t kFirstStep[COUNT][COUNT] = {
    //            ERROR  STOP   RUN    SCOPY  RESUM  RP2P   PCOPY  PP2P
    /* ERROR */ { ERR,   ERR,   ERR,   ERR,   ERR,   ERR,   ERR,   ERR  },
    /* STOP  */ { ERR,   STOP,  RP2P,  SCOPY, RESUM, RP2P,  RP2P,  RP2P },
    /* RUN   */ { ERR,   RP2P,  RUN,   RP2P,  RP2P,  RP2P,  PCOPY, RP2P },
    /* SCOPY */ { ERR,   STOP,  STOP,  SCOPY, STOP,  STOP,  ERR,   ERR  },
    /* RESUM */ { ERR,   STOP,  STOP,  STOP,  RESUM, STOP,  STOP,  STOP },
    /* RP2P  */ { ERR,   STOP,  RUN,   STOP,  STOP,  RP2P,  RUN,   PP2P },
    /* PCOPY */ { ERR,   RUN,   RUN,   PP2P,  RUN,   RUN,   PCOPY, PP2P },
    /* PP2P  */ { ERR,   RP2P,  RP2P,  SCOPY, RP2P,  RP2P,  PCOPY, PP2P },
};

constexpr uint64_t kS = uapi::kMigrationStopCopy, kP = uapi::kMigrationP2p, kC = uapi::kMigrationPreCopy;
// Capabilities that each state needs. ERROR needs all 64 bits: no device has them.
constexpr uint64_t kNeeds[COUNT] = {~0ull, kS, kS, kS, kS, kS | kP, kS | kC, kS | kP | kC};

constexpr std::string_view kNames[COUNT] = {
    "ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P"};
// clang-format on

bool Supports(uint64_t flags, uint32_t state) {
  return state < COUNT && (flags & kNeeds[state]) == kNeeds[state];
}

}  // namespace

std::optional<uint32_t> NextState(uint64_t flags, uint32_t cur, uint32_t want) {
  if (!Supports(flags, cur) || !Supports(flags, want)) return std::nullopt;
  uint32_t next = kFirstStep[cur][want];
  while (next != ERR && !Supports(flags, next)) next = kFirstStep[next][want];
  if (next == ERR) return std::nullopt;
  return next;
}

std::string StateName(uint32_t state) {
  return state < COUNT ? std::string(kNames[state]) : std::to_string(state);
}

std::optional<uint32_t> StateOf(std::string_view name) {
  for (uint32_t i = 0; i < COUNT; i++)
    if (kNames[i] == name) return i;
  return std::nullopt;
}

std::string ArcName(uint32_t from, uint32_t to) {
  return StateName(from) + ">" + StateName(to);
}

bool IsArc(std::string_view text) {
  size_t gt = text.find('>');
  return gt != text.npos && StateOf(text.substr(0, gt)) && StateOf(text.substr(gt + 1));
}

}  // namespace vfm::mock
