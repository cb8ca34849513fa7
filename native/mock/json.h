// JSON for scenarios and for the control interface: a strict parser (RFC 8259, no duplicate keys, no depth
// beyond 64) and a writer. Numbers keep their text, so that 64-bit seeds survive.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vfm::mock::json {

enum class Type { Null, Bool, Number, String, Array, Object };

// Where and why a text is not JSON; what() starts with "line L, column C".
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Value {
 public:
  using Member = std::pair<std::string, Value>;

  Value() = default;
  Value(bool b) : type_(Type::Bool), bool_(b) {}
  Value(int64_t n) : type_(Type::Number), text_(std::to_string(n)) {}
  Value(uint64_t n) : type_(Type::Number), text_(std::to_string(n)) {}
  Value(int n) : Value(static_cast<int64_t>(n)) {}
  Value(uint32_t n) : Value(static_cast<uint64_t>(n)) {}
  Value(std::string s) : type_(Type::String), text_(std::move(s)) {}
  Value(std::string_view s) : Value(std::string(s)) {}
  Value(const char* s) : Value(std::string(s)) {}

  static Value Array() { return Value(Type::Array); }
  static Value Object() { return Value(Type::Object); }
  // `text` must be a JSON number.
  static Value Number(std::string text);

  Type type() const { return type_; }
  bool boolean() const { return bool_; }
  // The characters of a string, or the digits of a number.
  const std::string& text() const { return text_; }
  const std::vector<Value>& items() const { return items_; }
  const std::vector<Member>& members() const { return members_; }
  // Null when there is no such member.
  const Value* Find(std::string_view key) const;

  void Push(Value v) { items_.push_back(std::move(v)); }
  void Set(std::string key, Value v) { members_.emplace_back(std::move(key), std::move(v)); }

  std::string Dump() const;

 private:
  explicit Value(Type t) : type_(t) {}
  void Write(std::string& out) const;

  Type type_ = Type::Null;
  bool bool_ = false;
  std::string text_;
  std::vector<Value> items_;
  std::vector<Member> members_;
};

// Throws Error.
Value Parse(std::string_view text);

const char* TypeName(Type t);

}  // namespace vfm::mock::json
