// Reads members of a JSON object one by one, and at the end refuses those that nobody asked for. Every
// refusal names the place by its JSON pointer.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "mock/json.h"

namespace vfm::mock {

class Reader {
 public:
  // Throws ScenarioError unless `value` is an object.
  Reader(const json::Value& value, std::string pointer);

  // Each returns false, and leaves `out` alone, when the member is missing.
  bool Bool(const char* key, bool& out);
  bool String(const char* key, std::string& out);
  // 0 .. max; a JSON integer, or text: decimal, 0x…, with KiB, MiB or GiB.
  bool Uint(const char* key, uint64_t& out, uint64_t max = UINT64_MAX);
  template <typename T>
  bool Small(const char* key, T& out, uint64_t max = INT32_MAX) {
    uint64_t n = 0;
    if (!Uint(key, n, max)) return false;
    out = static_cast<T>(n);
    return true;
  }
  // An errno's name.
  bool Errno(const char* key, int& out);
  // One of `words`; gives the index.
  bool Word(const char* key, std::initializer_list<const char*> words, size_t& out);
  // Any member at all; marks it as known.
  const json::Value* Any(const char* key);
  // The member as an object or array; throws when it is something else.
  const json::Value* ObjectMember(const char* key);
  const json::Value* ArrayMember(const char* key);

  // To be called last: throws for a member that was not asked for, with the nearest name that was.
  void Finish() const;

  std::string At(std::string_view key) const;
  [[noreturn]] void Fail(std::string_view key, const std::string& why) const;
  const json::Value& value() const { return value_; }

 private:
  const json::Value* Typed(const char* key, json::Type type);

  const json::Value& value_;
  std::string pointer_;
  std::vector<std::string> known_;
};

uint64_t ParseUint(const json::Value& v, const std::string& pointer, uint64_t max);
// "/a~1b" for a member named "a/b" (RFC 6901).
std::string Pointer(const std::string& base, std::string_view key);
// The candidate nearest to `word`, or "" when none is near.
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace vfm::mock
