/* Values between JavaScript and C++: arguments in, results and errors out. JavaScript's thread only. */
#ifndef VFIO_MIGRATE_ADDON_CONVERT_H
#define VFIO_MIGRATE_ADDON_CONVERT_H

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "outcome.h"

namespace vfm {

/* Arguments. A wrong type throws a TypeError, a value outside its range a RangeError, with `code` as Node has
 * it. */

/* An integer from `min` to `max`; both are safe integers. */
uint64_t IntegerArg(Napi::Value value, const char* name, uint64_t min, uint64_t max);
uint32_t Uint32Arg(Napi::Value value, const char* name);
/* A BigInt from 0 to `max`. */
uint64_t BigUintArg(Napi::Value value, const char* name, uint64_t max);
bool BoolArg(Napi::Value value, const char* name);
/* Without NUL characters. */
std::string StringArg(Napi::Value value, const char* name, size_t max_bytes);
std::string PathArg(Napi::Value value, const char* name);
/* A Uint8Array on memory of its own, copied: a script may change, transfer or free it while a thread works.
 */
Bytes BytesArg(Napi::Value value, const char* name, size_t max);
struct BytesView {
  uint8_t* data;
  size_t size;
};
/* The same without a copy; valid until JavaScript runs again. */
BytesView BytesViewArg(Napi::Value value, const char* name, size_t max);
/* The same for a thread: copied like Bytes, but for memory that ToJs(Block) gave away. That is held until
 * this is gone, also when the script's buffer is transferred or freed; only its bytes can change meanwhile.
 */
struct HeldBytes {
  std::shared_ptr<const Block> block;
  const uint8_t* data;
  size_t size;
};
HeldBytes HeldBytesArg(Napi::Value value, const char* name, size_t max);
/* A BigUint64Array, under the same rules as BytesView. */
struct WordsView {
  uint64_t* data;
  size_t size;
};
WordsView WordsViewArg(Napi::Value value, const char* name);

[[noreturn]] void ThrowType(Napi::Env env, const char* code, const std::string& message);

/* Results. */
Napi::Value ToJs(Napi::Env env, Nothing&);
Napi::Value ToJs(Napi::Env env, int& value);
Napi::Value ToJs(Napi::Env env, uint32_t& value);
Napi::Value ToJs(Napi::Env env, uint64_t& value);
Napi::Value ToJs(Napi::Env env, std::string& value);
Napi::Value ToJs(Napi::Env env, std::vector<std::string>& value);
Napi::Value ToJs(Napi::Env env, Bytes& value);
/* Hands the memory over when it is well used, else copies. */
Napi::Value ToJs(Napi::Env env, Block& value);
Napi::Value ToJs(Napi::Env env, vfm_stat& value);
Napi::Value ToJs(Napi::Env env, uapi::PrecopyInfo& value);
Napi::Value ToJs(Napi::Env env, uapi::DeviceInfo& value);
Napi::Value ToJs(Napi::Env env, uapi::RegionInfo& value);
Napi::Value ToJs(Napi::Env env, uapi::IrqInfo& value);

/* The Error of a failed request, made by the factory that lib/binding has set. */
Napi::Value ToError(Napi::Env env, const Failure& failure);

}  // namespace vfm
#endif
