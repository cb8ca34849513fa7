// The mock's table of system calls as a C++ object, for tests that need pointers, signals and threads.
#ifndef VFIO_MIGRATE_TEST_MOCK_CALLS_H
#define VFIO_MIGRATE_TEST_MOCK_CALLS_H

#include <fcntl.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "vfio/uapi.h"

extern "C" {
int vfio_mock_create(uint32_t abi, const char* scenario, size_t scenario_len, const char* state_dir,
                     struct vfm_kernel** out, char* error, size_t error_size);
int vfio_mock_control(struct vfm_kernel* kernel, const char* request, size_t request_len, char** answer);
void vfio_mock_free(char* answer);
}

namespace calls {

namespace uapi = vfm::uapi;

class Kernel {
 public:
  explicit Kernel(std::string_view scenario, const char* state_dir = nullptr) {
    char why[512] = "";
    result =
        vfio_mock_create(VFM_KERNEL_ABI, scenario.data(), scenario.size(), state_dir, &k, why, sizeof why);
    error = why;
  }
  ~Kernel() {
    if (k != nullptr) k->release(k->ctx);
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  int Open(const char* path, int flags = O_RDWR) { return k->openat(k->ctx, AT_FDCWD, path, flags, 0); }
  int Close(int fd) { return k->close(k->ctx, fd); }
  int Ioctl(int fd, unsigned long request, const void* arg = nullptr) {
    return k->ioctl(k->ctx, fd, request, reinterpret_cast<uintptr_t>(arg));
  }
  int IoctlValue(int fd, unsigned long request, uintptr_t arg) { return k->ioctl(k->ctx, fd, request, arg); }
  ssize_t Read(int fd, void* buf, size_t n) { return k->read(k->ctx, fd, buf, n); }
  ssize_t Write(int fd, const void* buf, size_t n) { return k->write(k->ctx, fd, buf, n); }
  int Fcntl(int fd, int cmd, uintptr_t arg = 0) { return k->fcntl(k->ctx, fd, cmd, arg); }

  // The device fd; container and group are closed again: the device keeps them.
  int OpenDevice(const char* name, int group) {
    int container = Open("/dev/vfio/vfio");
    std::string path = "/dev/vfio/" + std::to_string(group);
    int g = Open(path.c_str());
    if (g < 0) {
      Close(container);
      return g;
    }
    Ioctl(g, uapi::kGroupSetContainer, &container);
    IoctlValue(container, uapi::kSetIommu, uapi::kType1v2Iommu);
    int device = Ioctl(g, uapi::kGroupGetDeviceFd, name);
    Close(g);
    Close(container);
    return device;
  }

  struct State {
    uapi::DeviceFeature head;
    uapi::FeatureMigState mig;
  };
  // The data fd, -1 when there is none, or (below -1) a negated errno minus 1.
  int Set(int device, uint32_t state) {
    State s{{sizeof s, uapi::kFeatureSet | uapi::kFeatureMigDeviceState}, {state, 77}};
    int r = Ioctl(device, uapi::kDeviceFeature, &s);
    return r == 0 ? s.mig.data_fd : r - 1;
  }
  static constexpr int Refused(int error) { return -error - 1; }
  // The state, or a negated errno.
  int Get(int device) {
    State s{{sizeof s, uapi::kFeatureGet | uapi::kFeatureMigDeviceState}, {0, 0}};
    int r = Ioctl(device, uapi::kDeviceFeature, &s);
    return r == 0 ? static_cast<int>(s.mig.device_state) : r;
  }
  int Reset(int device) { return Ioctl(device, uapi::kDeviceReset); }

  std::string Control(std::string_view request) {
    char* answer = nullptr;
    vfio_mock_control(k, request.data(), request.size(), &answer);
    std::string text = answer;
    vfio_mock_free(answer);
    return text;
  }
  bool NoFds() { return Control(R"({"op":"fds"})") == R"({"fds":[]})"; }

  vfm_kernel* k = nullptr;
  int result = 0;
  std::string error;
};

// One PCI device 0000:65:00.2 in group 21. `more` are further members of the device, `kernel` of the kernel.
inline std::string Nic(const std::string& migration = "", const std::string& kernel = "",
                       const std::string& more = "") {
  return R"({"name":"nic","kernel":{)" + kernel +
         R"(},"devices":[{"kind":"pci","address":"0000:65:00.2","driver":"mock_vfio_pci","group":21,)" +
         more + R"("migration":{"size":"1MiB","initial_bytes":"64KiB")" + (migration.empty() ? "" : ",") +
         migration + "}}]}";
}
inline constexpr const char* kNic = "0000:65:00.2";

inline constexpr const char* kMttyUuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
inline std::string Mtty() {
  return std::string(R"({"name":"m","devices":[{"kind":"mtty","address":")") + kMttyUuid +
         R"(","group":0}]})";
}

}  // namespace calls

#endif
