/* The bitmap functions of the binding: counting, finding runs, merging. On JavaScript's thread, since they
 * only look at memory, and as fast as that can be read. */
#include <algorithm>
#include <limits>

#include "../vfio/bitmap.h"
#include "objects.h"

namespace vfm {

namespace {

constexpr uint64_t kMaxBits = uint64_t{kMaxBitmap} * 8;

/* A bitmap and how many of its bits count. */
struct BitmapArg {
  WordsView words;
  uint64_t bits;

  BitmapArg(Napi::Value array, Napi::Value count) : words(WordsViewArg(array, "words")) {
    bits = IntegerArg(count, "bits", 0, std::min<uint64_t>(kMaxBits, uint64_t{words.size} * 64));
  }
};

}  // namespace

Napi::Value BitmapCalls::Count(const Napi::CallbackInfo& info) {
  const BitmapArg bitmap(info[0], info[1]);
  return Napi::Number::New(info.Env(), static_cast<double>(BitmapCount(bitmap.words.data, bitmap.bits)));
}

Napi::Value BitmapCalls::Runs(const Napi::CallbackInfo& info) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  const BitmapArg bitmap(info[0], info[1]);
  uint64_t from = IntegerArg(info[2], "from", 0, bitmap.bits);
  const uint64_t base = BigUintArg(info[3], "base", kMax);
  const uint64_t unit = BigUintArg(info[4], "unit", kMax);
  const WordsView out = WordsViewArg(info[5], "out");
  static_assert(sizeof(BitmapRun) == 2 * sizeof(uint64_t));
  auto* runs = reinterpret_cast<BitmapRun*>(out.data);
  const size_t n = BitmapRuns(bitmap.words.data, bitmap.bits, from, runs, out.size / 2);
  for (size_t i = 0; i < n; i++) runs[i] = {base + runs[i].start * unit, runs[i].length * unit};
  Napi::Object answer = Napi::Object::New(info.Env());
  answer.Set("count", Napi::Number::New(info.Env(), static_cast<double>(n)));
  answer.Set("next", Napi::Number::New(info.Env(), static_cast<double>(from)));
  return answer;
}

Napi::Value BitmapCalls::Or(const Napi::CallbackInfo& info) {
  const WordsView into = WordsViewArg(info[0], "into");
  const WordsView other = WordsViewArg(info[1], "other");
  if (into.size != other.size) {
    ThrowType(info.Env(), "ERR_INVALID_ARG_VALUE", "The bitmaps are not of the same size");
  }
  BitmapOr(into.data, other.data, into.size);
  return info.Env().Undefined();
}

}  // namespace vfm
