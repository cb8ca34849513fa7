// Fuzz targets: one file each, with libFuzzer's entry point. Clang's -fsanitize=fuzzer drives them
// (scripts/sanitize fuzz); in every other build replay.cc gives them files, so that inputs which once found
// something stay tests.
#ifndef VFIO_MIGRATE_FUZZ_TARGET_H
#define VFIO_MIGRATE_FUZZ_TARGET_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// What must hold for any input. The fuzzer keeps an input that ends the process.
#define REQUIRE(condition)                                                          \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      abort();                                                                      \
    }                                                                               \
  } while (0)

#endif
