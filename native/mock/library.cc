// The library's three entry points, and the life of a table: it is freed by its last release.
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "mock/mock.h"
#include "mock/table.h"

namespace vfm::mock {

namespace {

void Retain(void* ctx) {
  static_cast<Handle*>(ctx)->references.fetch_add(1);
}

void Release(void* ctx) {
  auto* handle = static_cast<Handle*>(ctx);
  if (handle->references.fetch_sub(1) == 1) delete handle;
}

const char* KindName(void*) {
  return "mock";
}

void Report(char* error, size_t size, const std::string& text) {
  if (error == nullptr || size == 0) return;
  size_t n = std::min(text.size(), size - 1);
  memcpy(error, text.data(), n);
  error[n] = '\0';
}

int Create(std::string_view scenario, const char* state_dir, vfm_kernel** out) {
  std::string directory = state_dir == nullptr ? "" : state_dir;
  if (!directory.empty() && mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    throw ScenarioError("the state directory " + directory + " cannot be made: " + strerror(errno));
  auto handle = std::make_unique<Handle>();
  handle->mock = std::make_unique<Mock>(ReadScenario(scenario), std::move(directory));
  vfm_kernel& table = handle->table;
  table.abi = VFM_KERNEL_ABI;
  table.size = sizeof table;
  table.ctx = handle.get();
  table.retain = Retain;
  table.release = Release;
  table.kind = KindName;
  FillCalls(table);
  *out = &handle.release()->table;
  return 0;
}

char* CopyOut(const std::string& text) {
  char* copy = static_cast<char*>(malloc(text.size() + 1));
  if (copy != nullptr) memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

}  // namespace vfm::mock

#define VFM_EXPORT extern "C" __attribute__((visibility("default")))

VFM_EXPORT int vfio_mock_create(uint32_t abi, const char* scenario, size_t scenario_len,
                                const char* state_dir, struct vfm_kernel** out, char* error,
                                size_t error_size) {
  using namespace vfm::mock;
  *out = nullptr;
  if (abi != VFM_KERNEL_ABI) {
    Report(error, error_size,
           "the mock kernel's library speaks version " + std::to_string(VFM_KERNEL_ABI) +
               " of the interface, not " + std::to_string(abi));
    return -EPROTO;
  }
  try {
    return Create(std::string_view(scenario, scenario_len), state_dir, out);
  } catch (const ScenarioError& e) {
    Report(error, error_size, e.what());
    return -EINVAL;
  } catch (const std::exception& e) {
    Report(error, error_size, std::string("the mock kernel could not be made: ") + e.what());
    return -ENOMEM;
  }
}

VFM_EXPORT int vfio_mock_control(struct vfm_kernel* kernel, const char* request, size_t request_len,
                                 char** answer) {
  using namespace vfm::mock;
  std::string text;
  int result;
  try {
    result = static_cast<Handle*>(kernel->ctx)->mock->Control(std::string_view(request, request_len), text);
  } catch (const std::exception& e) {
    text = "{\"error\":\"out of memory\"}";
    result = -ENOMEM;
  }
  *answer = CopyOut(text);
  return *answer == nullptr ? -ENOMEM : result;
}

VFM_EXPORT void vfio_mock_free(char* answer) {
  free(answer);
}
