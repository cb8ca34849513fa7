// The floor that `npm run bench` measures against: what it costs to move a device's state between a data fd
// and a descriptor when nothing else is done. Same mock kernel, same device, no frames, no checksums, no
// addon.
//
//   floor save|load LIBRARY SCENARIO THREADS BUFFER GROUP NAME < in > out
//   floor save LIBRARY SCENARIO THREADS BUFFER --to DIRECTORY GROUP NAME GROUP NAME ...
//
// SCENARIO is a file; GROUP and NAME say which device (/dev/vfio/GROUP). `save` writes the driver's bytes to
// standard output, `load` reads them from standard input. With --to all devices are saved at once, a file
// each. Prints one line to standard error: nanoseconds and bytes of the loops alone, from the first byte on,
// without opening a device or changing its state, and the processor's microseconds in them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kernel/kernel.h"
#include "vfio/uapi.h"

namespace {

using namespace vfm;

constexpr uint32_t kStop = 1;
constexpr uint32_t kStopCopy = 3;
constexpr uint32_t kResuming = 4;
constexpr int kPipeBytes = 1 << 20;

[[noreturn]] void Die(const std::string& what, long error) {
  std::fprintf(stderr, "floor: %s: %s\n", what.c_str(), std::strerror(static_cast<int>(-error)));
  std::exit(1);
}

long Must(long result, const char* what) {
  if (result < 0) Die(what, result);
  return result;
}

struct Device {
  vfm_kernel* kernel;
  int fd;

  int SetState(uint32_t state) const {
    struct {
      uint32_t argsz, flags, state;
      int32_t data_fd;
    } request{16, 2u | uapi::kFeatureSet, state, -1};
    Must(kernel->ioctl(kernel->ctx, fd, uapi::kDeviceFeature, reinterpret_cast<uintptr_t>(&request)),
         "SET state");
    return request.data_fd;
  }
};

vfm_kernel* Load(const char* library, const char* scenario_file) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "floor: %s\n", dlerror());
    std::exit(1);
  }
  auto create = reinterpret_cast<vfio_mock_create_fn>(dlsym(handle, VFIO_MOCK_CREATE));
  std::ifstream file(scenario_file);
  const std::string scenario{std::istreambuf_iterator<char>(file), {}};
  vfm_kernel* kernel = nullptr;
  std::array<char, 512> error{};
  const int created =
      create(VFM_KERNEL_ABI, scenario.data(), scenario.size(), nullptr, &kernel, error.data(), error.size());
  if (created < 0) Die(error.data(), created);
  return kernel;
}

Device Open(vfm_kernel* kernel, const std::string& group, const char* name) {
  auto open = [&](const std::string& path) {
    return static_cast<int>(
        Must(kernel->openat(kernel->ctx, AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC, 0), path.c_str()));
  };
  auto ioctl = [&](int fd, unsigned long request, uintptr_t arg, const char* what) {
    return static_cast<int>(Must(kernel->ioctl(kernel->ctx, fd, request, arg), what));
  };
  int container = open("/dev/vfio/vfio");
  const int group_fd = open("/dev/vfio/" + group);
  ioctl(group_fd, uapi::kGroupSetContainer, reinterpret_cast<uintptr_t>(&container), "SET_CONTAINER");
  ioctl(container, uapi::kSetIommu, uapi::kType1v2Iommu, "SET_IOMMU");
  return {kernel,
          ioctl(group_fd, uapi::kGroupGetDeviceFd, reinterpret_cast<uintptr_t>(name), "GET_DEVICE_FD")};
}

using ReadFn = std::function<long(uint8_t*, size_t)>;
using WriteFn = std::function<long(const uint8_t*, size_t)>;

void WriteAll(const WriteFn& write, const uint8_t* bytes, size_t length) {
  while (length > 0) {
    const long wrote = Must(write(bytes, length), "write");
    bytes += wrote;
    length -= static_cast<size_t>(wrote);
  }
}

std::unique_ptr<uint8_t, decltype(&std::free)> Buffer(size_t size) {
  return {static_cast<uint8_t*>(std::aligned_alloc(4096, size)), &std::free};
}

uint64_t OneThread(const ReadFn& read, const WriteFn& write, size_t size) {
  auto buffer = Buffer(size);
  uint64_t total = 0;
  for (;;) {
    const long got = Must(read(buffer.get(), size), "read");
    if (got == 0) return total;
    WriteAll(write, buffer.get(), static_cast<size_t>(got));
    total += static_cast<uint64_t>(got);
  }
}

// Two buffers: one is filled while the other is written.
uint64_t TwoThreads(const ReadFn& read, const WriteFn& write, size_t size) {
  std::mutex mutex;
  std::condition_variable changed;
  std::array<std::unique_ptr<uint8_t, decltype(&std::free)>, 2> buffers{Buffer(size), Buffer(size)};
  std::array<long, 2> filled{-1, -1};

  std::thread reader([&] {
    for (int at = 0;; at ^= 1) {
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return filled[at] < 0; });
      }
      const long got = Must(read(buffers[at].get(), size), "read");
      {
        std::lock_guard lock(mutex);
        filled[at] = got;
      }
      changed.notify_one();
      if (got == 0) return;
    }
  });
  uint64_t total = 0;
  for (int at = 0;; at ^= 1) {
    long have = 0;
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return filled[at] >= 0; });
      have = filled[at];
    }
    if (have == 0) break;
    WriteAll(write, buffers[at].get(), static_cast<size_t>(have));
    total += static_cast<uint64_t>(have);
    {
      std::lock_guard lock(mutex);
      filled[at] = -1;
    }
    changed.notify_one();
  }
  reader.join();
  return total;
}

long Errno(ssize_t result) {
  return result < 0 ? -errno : result;
}

uint64_t Now() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() /
                               std::chrono::nanoseconds(1));
}

uint64_t CpuMicroseconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto us = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

// One device, one descriptor of this process.
struct Job {
  Device device;
  int data_fd;
  int fd;
  uint64_t first_ns = 0;
  uint64_t bytes = 0;

  void Run(bool saving, int threads, size_t size) {
    vfm_kernel* kernel = device.kernel;
    auto from = [&](uint8_t* b, size_t n) {
      return saving ? kernel->read(kernel->ctx, data_fd, b, n) : Errno(::read(fd, b, n));
    };
    const ReadFn read = [&](uint8_t* b, size_t n) {
      if (first_ns != 0) return from(b, n);
      const uint64_t asked = Now();
      const long got = from(b, n);
      // Waiting for a pipe's other end to start is no work; on a file and a device there is nothing to wait
      // for.
      first_ns = saving ? asked : Now();
      return got;
    };
    const WriteFn write = [&](const uint8_t* b, size_t n) {
      return saving ? Errno(::write(fd, b, n)) : kernel->write(kernel->ctx, data_fd, b, n);
    };
    bytes = threads == 2 ? TwoThreads(read, write, size) : OneThread(read, write, size);
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<char*> args(argv + 1, argv + argc);
  const bool many = args.size() > 6 && std::string(args[5]) == "--to";
  const size_t first = many ? 7 : 5;
  if (args.size() < first + 2 || (args.size() - first) % 2 != 0 || (!many && args.size() != first + 2)) {
    std::fprintf(stderr,
                 "usage: floor save|load LIBRARY SCENARIO THREADS BUFFER [--to DIRECTORY] GROUP NAME ...\n");
    return 2;
  }
  const bool saving = std::string(args[0]) == "save";
  vfm_kernel* kernel = Load(args[1], args[2]);
  const int threads = std::atoi(args[3]);
  const auto size = static_cast<size_t>(std::atoll(args[4]));

  std::vector<Job> jobs;
  for (size_t i = first; i < args.size(); i += 2) {
    const Device device = Open(kernel, args[i], args[i + 1]);
    const int fd = !many ? (saving ? 1 : 0)
                         : ::open((std::string(args[6]) + "/" + args[i + 1]).c_str(),
                                  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    Must(Errno(fd), "open");
    // As ours does: with the default of 64 KiB both ends of a pipe sleep most of the time.
    fcntl(fd, F_SETPIPE_SZ, kPipeBytes);
    jobs.push_back({device, device.SetState(saving ? kStopCopy : kResuming), fd});
  }

  const uint64_t cpu = CpuMicroseconds();
  std::vector<std::thread> workers;
  for (Job& job : jobs)
    if (many) workers.emplace_back([&job, saving, threads, size] { job.Run(saving, threads, size); });
  if (!many) jobs[0].Run(saving, threads, size);
  for (std::thread& worker : workers) worker.join();
  const uint64_t end = Now();
  const uint64_t cpu_us = CpuMicroseconds() - cpu;

  uint64_t start = UINT64_MAX, bytes = 0;
  for (const Job& job : jobs) {
    job.device.SetState(kStop);
    start = std::min(start, job.first_ns);
    bytes += job.bytes;
  }
  std::fprintf(stderr, "{\"ns\":%llu,\"bytes\":%llu,\"cpuUs\":%llu}\n",
               static_cast<unsigned long long>(end - start), static_cast<unsigned long long>(bytes),
               static_cast<unsigned long long>(cpu_us));
  return 0;
}
