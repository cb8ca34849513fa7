// Runs the tests whose names contain the argument (all without one), and prints `N passed, M failed`.
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <iostream>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"

namespace check {
namespace {

struct Test {
  const char* name;
  void (*body)();
};

std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}

std::atomic<bool> failed;
std::atomic<const char*> running;

// A test that hangs is a failure that must be seen. Generous, for sanitizers on a busy machine.
constexpr int kSecondsForOne = 120;

void Watch() {
  const char* last = nullptr;
  for (int seconds = 0;; ++seconds) {
    const char* now = running;
    if (now != last) seconds = 0;
    last = now;
    if (seconds == kSecondsForOne) {
      std::cerr << "FAIL " << now << ": still running after " << kSecondsForOne << " s" << std::endl;
      _exit(1);
    }
    sleep(1);
  }
}

}  // namespace

void Register(const char* name, void (*body)()) {
  Tests().push_back({name, body});
}

std::ostream& Failure(const char* file, int line) {
  failed = true;
  return std::cerr << file << ":" << line << ": ";
}

}  // namespace check

int main(int argc, char** argv) {
  using namespace check;
  std::thread(Watch).detach();
  int passed = 0, bad = 0;
  for (const Test& test : Tests()) {
    if (argc > 1 && strstr(test.name, argv[1]) == nullptr) continue;
    failed = false;
    running = test.name;
    test.body();
    if (failed) std::cerr << "FAIL " << test.name << std::endl;
    ++(failed ? bad : passed);
  }
  std::cout << passed << " passed, " << bad << " failed" << std::endl;
  return bad == 0 && passed != 0 ? 0 : 1;
}
