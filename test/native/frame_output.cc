// Turns at a common output: one at a time, in order, and nobody waits for somebody who has given up.
#include "vfio/frame_output.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "vfio/crc32c.h"

namespace {

using namespace std::chrono_literals;
const auto kNever = [] { return false; };

}  // namespace

TEST(FrameOutputLetsOneInAtATime) {
  vfm::FrameOutput output(0);
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; t++) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; i++) {
        CHECK(output.Begin(kNever));
        const int now = ++inside;
        if (now > most) most = now;
        --inside;
        output.End(true, 0, 3);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK_EQ(most.load(), 1);
  CHECK_EQ(output.bytes(), 8 * 200 * 3);
}

TEST(FrameOutputHasTheCrcOfTheWhole) {
  const uint8_t bytes[] = "123456789abcdef";
  vfm::FrameOutput output(vfm::Crc32c(0, bytes, 4));
  CHECK(output.Begin(kNever));
  output.End(true, vfm::Crc32c(0, bytes + 4, 5), 5);
  CHECK(output.Begin(kNever));
  output.End(true, vfm::Crc32c(0, bytes + 9, 6), 6);
  CHECK_EQ(output.crc(), vfm::Crc32c(0, bytes, 15));
}

TEST(FrameOutputForgetsWhoGaveUp) {
  vfm::FrameOutput output(0);
  CHECK(output.Begin(kNever));
  std::atomic<bool> stop{false}, entered{false};
  std::thread quitter([&] { CHECK(!output.Begin([&] { return stop.load(); })); });
  std::this_thread::sleep_for(20ms);
  std::thread next([&] {
    CHECK(output.Begin(kNever));
    entered = true;
    output.End(true, 0, 1);
  });
  std::this_thread::sleep_for(20ms);
  stop = true;
  output.Wake();
  quitter.join();
  CHECK(!entered);
  output.End(true, 0, 1);
  next.join();
  CHECK(entered);
}

TEST(FrameOutputEndsWithHalfAFrame) {
  vfm::FrameOutput output(7);
  CHECK(output.Begin(kNever));
  std::thread waiting([&] { CHECK(!output.Begin(kNever)); });
  std::this_thread::sleep_for(20ms);
  output.End(false, 1, 100);
  waiting.join();
  CHECK(!output.Begin(kNever));
  CHECK_EQ(output.crc(), 7);
  CHECK_EQ(output.bytes(), 0);
}
