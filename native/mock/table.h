// What a table of system calls is made of.
#pragma once

#include <atomic>
#include <memory>

#include "kernel/kernel.h"
#include "mock/mock.h"

namespace vfm::mock {

// What `ctx` points to. The table is part of it, so that the last release frees both.
struct Handle {
  vfm_kernel table{};
  std::atomic<int> references{1};
  std::unique_ptr<Mock> mock;
};

// Everything but the members that deal with the table's own life.
void FillCalls(vfm_kernel& table);

}  // namespace vfm::mock
