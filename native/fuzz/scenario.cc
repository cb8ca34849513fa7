// The mock kernel's readers: arbitrary bytes as a scenario. One that is refused has a sentence, and no
// kernel; from one that is taken every file is opened and read once, and the control interface answers, to
// itself and to the rest of the input.
//
// Input: the scenario; after a NUL, if there is one, a request to the control interface.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "kernel/kernel.h"
#include "target.h"

extern "C" int vfio_mock_create(uint32_t abi, const char* scenario, size_t scenario_len,
                                const char* state_dir, struct vfm_kernel** out, char* error,
                                size_t error_size);
extern "C" int vfio_mock_control(struct vfm_kernel* kernel, const char* request, size_t request_len,
                                 char** answer);
extern "C" void vfio_mock_free(char* answer);

namespace {

// As getdents64(2) has it.
struct Entry {
  uint64_t ino;
  int64_t off;
  unsigned short length;
  unsigned char type;
  char name[1];
};

constexpr int kDeepest = 12;
// A tree of thousands of files says nothing that the first do not, and each takes time.
constexpr int kMostFiles = 60;

class Walk {
 public:
  explicit Walk(const vfm_kernel* kernel) : k_(kernel) {}

  void Visit(const std::string& path, int depth) {
    if (++files_ > kMostFiles || depth > kDeepest) return;
    vfm_stat stat;
    const int looked = k_->fstatat(k_->ctx, AT_FDCWD, path.c_str(), &stat, AT_SYMLINK_NOFOLLOW);
    char link[4096];
    (void)k_->readlinkat(k_->ctx, AT_FDCWD, path.c_str(), link, sizeof(link));
    (void)k_->faccessat(k_->ctx, AT_FDCWD, path.c_str(), 4);
    const bool directory = looked == 0 && S_ISDIR(stat.mode);
    const int fd =
        k_->openat(k_->ctx, AT_FDCWD, path.c_str(), directory ? O_RDONLY | O_DIRECTORY : O_RDONLY, 0);
    if (fd < 0) return;
    if (directory) {
      List(fd, path, depth);
    } else {
      char content[256];
      (void)k_->read(k_->ctx, fd, content, sizeof(content));
    }
    REQUIRE(k_->close(k_->ctx, fd) == 0);
  }

 private:
  void List(int fd, const std::string& path, int depth) {
    alignas(Entry) char buffer[4096];
    for (;;) {
      const ssize_t got = k_->getdents(k_->ctx, fd, buffer, sizeof(buffer));
      if (got <= 0) return;
      REQUIRE(static_cast<size_t>(got) <= sizeof(buffer));
      for (ssize_t at = 0; at < got;) {
        unsigned short length;
        memcpy(&length, buffer + at + offsetof(Entry, length), sizeof(length));
        REQUIRE(length > offsetof(Entry, name) && at + length <= got);
        const char* name = buffer + at + offsetof(Entry, name);
        const size_t room = length - offsetof(Entry, name);
        REQUIRE(strnlen(name, room) < room);
        const std::string_view view(name);
        if (view != "." && view != "..")
          Visit((path == "/" ? "" : path) + "/" + std::string(view), depth + 1);
        at += length;
      }
    }
  }

  const vfm_kernel* const k_;
  int files_ = 0;
};

void Ask(vfm_kernel* kernel, std::string_view request) {
  char* answer = nullptr;
  (void)vfio_mock_control(kernel, request.data(), request.size(), &answer);
  REQUIRE(answer != nullptr);
  vfio_mock_free(answer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(input.find('\0'), size);
  const std::string_view request = input.substr(std::min(end + 1, size));
  vfm_kernel* kernel = nullptr;
  char sentence[512] = "";
  const int error =
      vfio_mock_create(VFM_KERNEL_ABI, input.data(), end, nullptr, &kernel, sentence, sizeof(sentence));
  REQUIRE((error == 0) == (kernel != nullptr));
  REQUIRE(error <= 0 && (error == 0 || sentence[0] != '\0'));
  if (!kernel) return 0;
  // A delay or a fault that hangs would be waited out: those that touch files are off for the walk.
  Ask(kernel, R"({"op":"set-faults","faults":[]})");
  Walk(kernel).Visit("/", 0);
  for (const char* op : {"info", "devices", "fds", "faults", "log"}) {
    Ask(kernel, std::string(R"({"op":")") + op + R"("})");
  }
  Ask(kernel, request);
  kernel->release(kernel->ctx);
  return 0;
}
