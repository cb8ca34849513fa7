// The mock under several threads, signals, and the death of a process.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "../native/check.h"
#include "calls.h"

using namespace calls;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kStop = uapi::kStateStop, kRunning = uapi::kStateRunning, kStopCopy = uapi::kStateStopCopy,
              kResuming = uapi::kStateResuming, kPreCopy = uapi::kStatePreCopy, kP2p = uapi::kStateRunningP2p;

void Pause(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

int64_t Ms(Clock::time_point since) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since).count();
}

// Sends SIGUSR1, whose handler does nothing and does not restart calls, until `done`.
void InterruptUntil(pthread_t thread, const std::atomic<bool>& done) {
  struct sigaction action = {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  while (!done) {
    pthread_kill(thread, SIGUSR1);
    Pause(5);
  }
}

// Runs `call` in a thread and interrupts it after `ms`; gives its result.
template <typename F>
ssize_t Interrupted(int ms, F call) {
  std::atomic<bool> done{false};
  ssize_t result = 0;
  std::thread thread([&] {
    result = call();
    done = true;
  });
  Pause(ms);
  InterruptUntil(thread.native_handle(), done);
  thread.join();
  return result;
}

}  // namespace

TEST(MockReadBlocksUntilASignal) {
  Kernel k(Nic(R"("block_read_at":0)"));
  int device = k.OpenDevice(kNic, 21), fd = k.Set(device, kStopCopy);
  char buf[64];
  CHECK_EQ(Interrupted(20, [&] { return k.Read(fd, buf, sizeof buf); }), -EINTR);
  // The fd stays usable.
  k.Control(R"({"op":"set-knobs","device":"0000:65:00.2","knobs":{"migration":{"block_read_at":"1TiB"}}})");
  CHECK_EQ(k.Read(fd, buf, sizeof buf), 64);
  k.Close(fd);
  k.Close(device);
}

TEST(MockReadTakesItsTimeAndHonoursNonblock) {
  Kernel k(Nic(R"("read_delay_ms":40,"bandwidth":"1MiB","block_read_at":65536,"honours_nonblock":true)"));
  int device = k.OpenDevice(kNic, 21), fd = k.Set(device, kStopCopy);
  std::vector<char> buf(65536);
  auto start = Clock::now();
  CHECK_EQ(k.Read(fd, buf.data(), buf.size()), 65536);
  // 40 ms, and a sixteenth of a second for the bytes.
  CHECK(Ms(start) >= 100);
  CHECK_EQ(k.Fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  CHECK_EQ(k.Read(fd, buf.data(), buf.size()), -EAGAIN);
  k.Close(fd);
  k.Control(R"({"op":"set-knobs","device":"0000:65:00.2","knobs":{"migration":{"write_delay_ms":10000}}})");
  CHECK_EQ(k.Reset(device), 0);
  fd = k.Set(device, kResuming);
  CHECK_EQ(Interrupted(10, [&] { return k.Write(fd, buf.data(), buf.size()); }), -EINTR);
  k.Close(fd);
  k.Close(device);
}

TEST(MockTransitionIsInterruptibleOnlyWhereTheDriverSaysSo) {
  Kernel stubborn(Nic(R"("delay_ms":100)"));
  int device = stubborn.OpenDevice(kNic, 21);
  CHECK_EQ(Interrupted(10, [&] { return stubborn.Set(device, kP2p); }), -1);
  CHECK_EQ(stubborn.Get(device), kP2p);
  stubborn.Close(device);
  Kernel soft(Nic(R"("delay_ms":10000,"delay_interruptible":true)"));
  device = soft.OpenDevice(kNic, 21);
  CHECK_EQ(Interrupted(10, [&] { return soft.Set(device, kP2p); }), Kernel::Refused(EINTR));
  CHECK_EQ(soft.Get(device), kRunning);
  soft.Close(device);
}

TEST(MockGetWaitsForASet) {
  Kernel k(Nic(R"("delay_ms":1500)"));
  int device = k.OpenDevice(kNic, 21);
  auto start = Clock::now();
  std::thread setter([&] { CHECK_EQ(k.Set(device, kP2p), -1); });
  Pause(300);
  CHECK_EQ(k.Get(device), kP2p);
  CHECK(Ms(start) >= 1490);
  // The control interface does not wait.
  setter.join();
  k.Close(device);
}

TEST(MockResetDuringATransitionIsDeferred) {
  Kernel k(Nic(R"("delay_ms":1500)"));
  int device = k.OpenDevice(kNic, 21);
  auto start = Clock::now();
  int fd = -2;
  std::thread setter([&] { fd = k.Set(device, kPreCopy); });
  Pause(300);
  CHECK_EQ(k.Reset(device), 0);
  CHECK(Ms(start) < 1400);
  setter.join();
  // The request succeeded, and its session is dead already.
  CHECK(fd >= 0);
  char byte;
  CHECK_EQ(k.Read(fd, &byte, 1), -ENODEV);
  CHECK_EQ(k.Get(device), kRunning);
  k.Close(fd);
  k.Close(device);
}

TEST(MockCloseDuringATransitionTakesEffectAfterIt) {
  Kernel k(Nic(R"("delay_ms":1500)"));
  int device = k.OpenDevice(kNic, 21);
  std::thread setter([&] { CHECK_EQ(k.Set(device, kP2p), -1); });
  Pause(300);
  CHECK_EQ(k.Close(device), 0);
  CHECK_EQ(k.Open("/dev/vfio/21"), -EBUSY);
  setter.join();
  int group = k.Open("/dev/vfio/21");
  CHECK(group >= 0);
  k.Close(group);
  CHECK(k.NoFds());
}

TEST(MockManyThreads) {
  std::string scenario = R"({"name":"many","kernel":{"log_size":64},"devices":[)";
  for (int i = 0; i < 8; i++) {
    scenario += std::string(i == 0 ? "" : ",") + R"({"kind":"pci","address":"0000:65:00.)" +
                std::to_string(i) + R"(","driver":"mock_vfio_pci","group":)" + std::to_string(i + 1) +
                R"(,"migration":{"size":"256KiB"}})";
  }
  Kernel k(scenario + "]}");
  CHECK_EQ(k.error, "");
  if (k.k == nullptr) return;
  std::vector<std::thread> threads;
  std::atomic<bool> stop{false};
  for (int i = 0; i < 8; i++) {
    threads.emplace_back([&, i] {
      std::string name = "0000:65:00." + std::to_string(i);
      std::vector<char> buf(70000);
      for (int round = 0; round < 10; round++) {
        int device = k.OpenDevice(name.c_str(), i + 1);
        CHECK(device >= 0);
        int fd = k.Set(device, kPreCopy);
        while (k.Read(fd, buf.data(), buf.size()) > 0) continue;
        CHECK_EQ(k.Set(device, kStopCopy), -1);
        k.Close(fd);
        CHECK_EQ(k.Reset(device), 0);
        fd = k.Set(device, kResuming);
        CHECK_EQ(k.Write(fd, buf.data(), 100), -EINVAL);
        k.Close(fd);
        k.Close(device);
      }
    });
  }
  // Meanwhile somebody else looks, and meddles.
  std::thread meddler([&] {
    while (!stop) {
      k.Control(R"({"op":"devices"})");
      k.Control(R"({"op":"log"})");
      k.Control(R"({"op":"set-knobs","device":"0000:65:00.1","knobs":{"migration":{"read_chunk":5000}}})");
      k.Control(R"({"op":"set-faults","faults":[{"call":"uname","errno":"EIO"}]})");
    }
  });
  for (std::thread& t : threads) t.join();
  stop = true;
  meddler.join();
  CHECK(k.NoFds());
}

TEST(MockTwoThreadsShareOneDevice) {
  Kernel k(Nic());
  int device = k.OpenDevice(kNic, 21);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&] {
      char buf[5000];
      for (int round = 0; round < 30; round++) {
        int fd = k.Set(device, round % 2 == 0 ? kStopCopy : kRunning);
        if (fd >= 0) {
          k.Read(fd, buf, sizeof buf);
          k.Close(fd);
        }
        k.Get(device);
        k.Reset(device);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  k.Close(device);
  CHECK(k.NoFds());
}

TEST(MockTwoKernelsKnowNothingOfEachOther) {
  Kernel a(Nic()), b(Nic());
  int in_a = a.OpenDevice(kNic, 21), in_b = b.OpenDevice(kNic, 21);
  CHECK(in_a >= 0 && in_b >= 0);
  CHECK_EQ(a.Set(in_a, kStop), -1);
  CHECK_EQ(b.Get(in_b), kRunning);
  a.Close(in_a);
  b.Close(in_b);
}

TEST(MockMttyOutlivesAProcessThatIsKilled) {
  char directory[] = "/tmp/mock-XXXXXX";
  CHECK(mkdtemp(directory) != nullptr);
  pid_t child = fork();
  if (child == 0) {
    Kernel k(Mtty(), directory);
    int device = k.OpenDevice(kMttyUuid, 0);
    k.Set(device, kResuming);
    kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  {
    Kernel k(Mtty(), directory);
    int device = k.OpenDevice(kMttyUuid, 0);
    CHECK(device >= 0);
    CHECK_EQ(k.Get(device), kResuming);
    CHECK_EQ(k.Set(device, kStop), Kernel::Refused(EIO));
    CHECK_EQ(k.Reset(device), 0);
    CHECK_EQ(k.Get(device), kRunning);
    CHECK_EQ(k.Set(device, kStop), -1);
    k.Close(device);
    CHECK(k.NoFds());
  }
  std::string files = directory;
  for (const char* suffix : {".mtty", ".mtty.lock"}) unlink((files + "/" + kMttyUuid + suffix).c_str());
  CHECK_EQ(rmdir(directory), 0);
}
