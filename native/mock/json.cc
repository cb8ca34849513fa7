#include "mock/json.h"

#include <cstdio>

namespace vfm::mock::json {

namespace {

constexpr int kMaxDepth = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value Document() {
    Value v = ReadValue(0);
    Space();
    if (at_ != text_.size()) Fail("nothing may follow the value");
    return v;
  }

 private:
  [[noreturn]] void Fail(const std::string& why) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at_ && i < text_.size(); i++) {
      if (text_[i] == '\n') {
        line++;
        column = 1;
      } else {
        column++;
      }
    }
    throw Error("line " + std::to_string(line) + ", column " + std::to_string(column) + ": " + why);
  }

  bool More() const { return at_ < text_.size(); }
  char Peek() const { return More() ? text_[at_] : '\0'; }

  void Space() {
    while (More() && (Peek() == ' ' || Peek() == '\t' || Peek() == '\n' || Peek() == '\r')) at_++;
  }

  void Expect(char c) {
    Space();
    if (!More() || Peek() != c) Fail(std::string("expected '") + c + "'");
    at_++;
  }

  bool Word(std::string_view w) {
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }

  Value ReadValue(int depth) {
    if (depth > kMaxDepth) Fail("nested too deeply");
    Space();
    switch (Peek()) {
      case '{':
        return ReadObject(depth);
      case '[':
        return ReadArray(depth);
      case '"':
        return Value(ReadString());
      case 't':
        if (Word("true")) return Value(true);
        break;
      case 'f':
        if (Word("false")) return Value(false);
        break;
      case 'n':
        if (Word("null")) return Value();
        break;
      default:
        if (Peek() == '-' || Digit()) return ReadNumber();
    }
    Fail("expected a value");
  }

  Value ReadObject(int depth) {
    Value v = Value::Object();
    at_++;
    Space();
    if (Peek() == '}') {
      at_++;
      return v;
    }
    for (;;) {
      Space();
      if (Peek() != '"') Fail("expected a member name in double quotes");
      size_t start = at_;
      std::string key = ReadString();
      if (v.Find(key) != nullptr) {
        at_ = start;
        Fail("member \"" + key + "\" is there twice");
      }
      Expect(':');
      v.Set(std::move(key), ReadValue(depth + 1));
      Space();
      if (Peek() == ',') {
        at_++;
        continue;
      }
      Expect('}');
      return v;
    }
  }

  Value ReadArray(int depth) {
    Value v = Value::Array();
    at_++;
    Space();
    if (Peek() == ']') {
      at_++;
      return v;
    }
    for (;;) {
      v.Push(ReadValue(depth + 1));
      Space();
      if (Peek() == ',') {
        at_++;
        continue;
      }
      Expect(']');
      return v;
    }
  }

  bool Digit() const { return Peek() >= '0' && Peek() <= '9'; }

  void Digits() {
    if (!Digit()) Fail("expected a digit");
    while (Digit()) at_++;
  }

  Value ReadNumber() {
    size_t start = at_;
    if (Peek() == '-') at_++;
    if (Peek() == '0') {
      at_++;
      if (Digit()) Fail("a number does not start with 0");
    } else {
      Digits();
    }
    if (Peek() == '.') {
      at_++;
      Digits();
    }
    if (Peek() == 'e' || Peek() == 'E') {
      at_++;
      if (Peek() == '+' || Peek() == '-') at_++;
      Digits();
    }
    return Value::Number(std::string(text_.substr(start, at_ - start)));
  }

  uint32_t Hex4() {
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) {
      char c = Peek();
      uint32_t d;
      if (c >= '0' && c <= '9') {
        d = static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        d = static_cast<uint32_t>(c - 'a') + 10;
      } else if (c >= 'A' && c <= 'F') {
        d = static_cast<uint32_t>(c - 'A') + 10;
      } else {
        Fail("expected four hexadecimal digits");
      }
      n = n * 16 + d;
      at_++;
    }
    return n;
  }

  void Utf8(std::string& out, uint32_t c) {
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += static_cast<char>(0xc0 | (c >> 6));
      out += static_cast<char>(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      out += static_cast<char>(0xe0 | (c >> 12));
      out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (c & 0x3f));
    } else {
      out += static_cast<char>(0xf0 | (c >> 18));
      out += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
      out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
      out += static_cast<char>(0x80 | (c & 0x3f));
    }
  }

  void Escape(std::string& out) {
    static constexpr std::string_view from = "\"\\/bfnrt";
    static constexpr std::string_view to = "\"\\/\b\f\n\r\t";
    char c = Peek();
    at_++;
    if (size_t i = from.find(c); c != '\0' && i != from.npos) {
      out += to[i];
      return;
    }
    if (c != 'u') {
      at_--;
      Fail("unknown escape");
    }
    uint32_t code = Hex4();
    if (code >= 0xd800 && code < 0xdc00) {
      if (!Word("\\u")) Fail("half of a surrogate pair");
      uint32_t low = Hex4();
      if (low < 0xdc00 || low >= 0xe000) Fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      Fail("half of a surrogate pair");
    }
    Utf8(out, code);
  }

  std::string ReadString() {
    std::string out;
    at_++;
    for (;;) {
      if (!More()) Fail("the string does not end");
      char c = Peek();
      if (static_cast<unsigned char>(c) < 0x20) Fail("control character in a string");
      at_++;
      if (c == '"') return out;
      if (c == '\\') {
        Escape(out);
      } else {
        out += c;
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

void Quote(std::string& out, const std::string& s) {
  out += '"';
  for (char c : s) {
    auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20) {
      char buf[8];
      snprintf(buf, sizeof buf, "\\u%04x", u);
      out += buf;
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

Value Value::Number(std::string text) {
  Value v(Type::Number);
  v.text_ = std::move(text);
  return v;
}

const Value* Value::Find(std::string_view key) const {
  for (const Member& m : members_)
    if (m.first == key) return &m.second;
  return nullptr;
}

void Value::Write(std::string& out) const {
  const char* separator = "";
  switch (type_) {
    case Type::Null:
      out += "null";
      break;
    case Type::Bool:
      out += bool_ ? "true" : "false";
      break;
    case Type::Number:
      out += text_;
      break;
    case Type::String:
      Quote(out, text_);
      break;
    case Type::Array:
      out += '[';
      for (const Value& v : items_) {
        out += separator;
        v.Write(out);
        separator = ",";
      }
      out += ']';
      break;
    case Type::Object:
      out += '{';
      for (const Member& m : members_) {
        out += separator;
        Quote(out, m.first);
        out += ':';
        m.second.Write(out);
        separator = ",";
      }
      out += '}';
      break;
  }
}

std::string Value::Dump() const {
  std::string out;
  Write(out);
  return out;
}

Value Parse(std::string_view text) {
  return Parser(text).Document();
}

const char* TypeName(Type t) {
  static constexpr const char* names[] = {"null",     "a boolean", "a number",
                                          "a string", "an array",  "an object"};
  return names[static_cast<int>(t)];
}

}  // namespace vfm::mock::json
