// Replays a fuzz target on inputs that are the same every time, as an ordinary test.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

TEST(FuzzReplay, SeededInputs) {
  std::mt19937_64 random(20261121);  // NOLINT: the same every time
  for (int round = 0; round < 500; ++round) {
    std::vector<std::uint8_t> input(random() % 600);
    for (std::uint8_t& byte : input) {
      // Small values are the interesting ones for registers, flags and lengths.
      byte = static_cast<std::uint8_t>(random() % 3 == 0 ? random() : random() % 8);
    }
    ASSERT_EQ(LLVMFuzzerTestOneInput(input.data(), input.size()), 0) << round;
  }
}

}  // namespace
