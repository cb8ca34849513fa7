#include "mock/reader.h"

#include <algorithm>
#include <charconv>

#include "mock/errnos.h"
#include "mock/scenario.h"

namespace vfm::mock {

using json::Type;
using json::Value;

std::string Pointer(const std::string& base, std::string_view key) {
  std::string out = base + "/";
  for (char c : key) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

namespace {

[[noreturn]] void Refuse(const std::string& pointer, const std::string& why) {
  throw ScenarioError((pointer.empty() ? std::string("the document") : pointer) + ": " + why);
}

size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      size_t cost = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = row[j];
      row[j] = cost;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = word.size() / 2 + 1;
  for (const std::string& c : candidates) {
    size_t d = Distance(word, c);
    if (d < best_distance) {
      best = c;
      best_distance = d;
    }
  }
  return best;
}

uint64_t ParseUint(const Value& v, const std::string& pointer, uint64_t max) {
  static constexpr const char* kWanted = "wanted a whole number, or text such as \"0x1f\", \"64MiB\"";
  if (v.type() != Type::Number && v.type() != Type::String) Refuse(pointer, kWanted);
  std::string text = v.text();
  uint64_t unit = 1;
  int base = 10;
  if (v.type() == Type::String) {
    static constexpr std::pair<std::string_view, uint64_t> units[] = {
        {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};
    for (auto [suffix, factor] : units) {
      if (text.size() > suffix.size() && text.ends_with(suffix)) {
        text.resize(text.size() - suffix.size());
        unit = factor;
      }
    }
    if (text.starts_with("0x")) {
      text = text.substr(2);
      base = 16;
    }
  }
  uint64_t n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) Refuse(pointer, kWanted);
  if (n > max / unit) Refuse(pointer, "must not exceed " + std::to_string(max));
  return n * unit;
}

Reader::Reader(const Value& value, std::string pointer) : value_(value), pointer_(std::move(pointer)) {
  if (value.type() != Type::Object)
    Refuse(pointer_, std::string("wanted an object, found ") + TypeName(value.type()));
}

std::string Reader::At(std::string_view key) const {
  return Pointer(pointer_, key);
}

void Reader::Fail(std::string_view key, const std::string& why) const {
  Refuse(At(key), why);
}

const Value* Reader::Any(const char* key) {
  known_.emplace_back(key);
  return value_.Find(key);
}

const Value* Reader::Typed(const char* key, Type type) {
  const Value* v = Any(key);
  if (v != nullptr && v->type() != type)
    Fail(key, std::string("wanted ") + json::TypeName(type) + ", found " + json::TypeName(v->type()));
  return v;
}

const Value* Reader::ObjectMember(const char* key) {
  return Typed(key, Type::Object);
}
const Value* Reader::ArrayMember(const char* key) {
  return Typed(key, Type::Array);
}

bool Reader::Bool(const char* key, bool& out) {
  const Value* v = Typed(key, Type::Bool);
  if (v != nullptr) out = v->boolean();
  return v != nullptr;
}

bool Reader::String(const char* key, std::string& out) {
  const Value* v = Typed(key, Type::String);
  if (v != nullptr) out = v->text();
  return v != nullptr;
}

bool Reader::Uint(const char* key, uint64_t& out, uint64_t max) {
  const Value* v = Any(key);
  if (v != nullptr) out = ParseUint(*v, At(key), max);
  return v != nullptr;
}

bool Reader::Errno(const char* key, int& out) {
  std::string name;
  if (!String(key, name)) return false;
  out = ErrnoOf(name);
  if (out == 0)
    Fail(key, "\"" + name + "\" is not the name of an errno that the mock knows, such as \"EIO\"");
  return true;
}

bool Reader::Word(const char* key, std::initializer_list<const char*> words, size_t& out) {
  std::string word;
  if (!String(key, word)) return false;
  std::string all;
  size_t i = 0;
  for (const char* w : words) {
    if (word == w) {
      out = i;
      return true;
    }
    all += (i++ == 0 ? "" : ", ") + std::string(w);
  }
  Fail(key, "\"" + word + "\" is none of: " + all);
}

void Reader::Finish() const {
  for (const auto& [key, value] : value_.members()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    std::string near = Nearest(key, known_);
    Fail(key, near.empty() ? "no such member here" : "no such member here; did you mean \"" + near + "\"?");
  }
}

}  // namespace vfm::mock
