// Enough of a test framework: TEST registers, CHECK reports and goes on, main() counts tests.
#ifndef VFIO_MIGRATE_TEST_CHECK_H
#define VFIO_MIGRATE_TEST_CHECK_H

#include <concepts>
#include <iostream>
#include <type_traits>
#include <utility>

namespace check {

void Register(const char* name, void (*body)());
// Prints the place; the running test has failed.
std::ostream& Failure(const char* file, int line);

struct Registration {
  Registration(const char* name, void (*body)()) { Register(name, body); }
};

// A number as a number, also when it is a uint8_t.
template <class T>
decltype(auto) Printable(const T& value) {
  if constexpr (std::is_arithmetic_v<T>) {
    return +value;
  } else {
    return (value);
  }
}

template <class A, class B>
void Equal(const A& a, const B& b, const char* text, const char* file, int line) {
  bool equal;
  if constexpr (std::integral<A> && std::integral<B> && !std::same_as<A, bool> && !std::same_as<B, bool>) {
    equal = std::cmp_equal(a, b);
  } else {
    equal = a == b;
  }
  if (!equal) {
    Failure(file, line) << text << ": " << Printable(a) << " is not " << Printable(b) << "\n";
  }
}

}  // namespace check

#define TEST(name)                                                   \
  static void name();                                                \
  static const check::Registration registration_##name(#name, name); \
  static void name()
#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) check::Failure(__FILE__, __LINE__) << #condition << "\n"; \
  } while (0)
#define CHECK_EQ(a, b) check::Equal(a, b, #a, __FILE__, __LINE__)

#endif
