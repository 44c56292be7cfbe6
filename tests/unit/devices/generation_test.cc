#include "devices/generation.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "support/state_round_trip.h"

namespace spore::devices {
namespace {

class DoorbellTest : public ::testing::Test {
 protected:
  void store(std::uint64_t offset, std::uint32_t value) {
    device_.write(offset, std::as_bytes(std::span(&value, 1)));
  }
  std::uint32_t load(std::uint64_t offset) {
    std::uint32_t value = 0;
    device_.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  std::vector<wire::DoorbellCommand> rung_;
  GenerationDevice device_{[this](wire::DoorbellCommand command) { rung_.push_back(command); },
                           GenerationState{0x100000007}};
};

TEST_F(DoorbellTest, ReadsAsTheLayoutSays) {
  EXPECT_EQ(load(wire::kDoorbellRegMagic), wire::kGenerationMagic);
  EXPECT_EQ(load(wire::kDoorbellRegVersion), wire::kGenerationVersion);
  EXPECT_EQ(load(wire::kDoorbellRegRing), 0U);
  EXPECT_EQ(load(wire::kDoorbellRegStatus), 7U);
}

TEST_F(DoorbellTest, RingsForKnownCommandsOnly) {
  for (std::uint32_t value = 0; value < 5; ++value) {
    store(wire::kDoorbellRegRing, value);
    store(wire::kDoorbellRegStatus, value);
  }
  store(wire::kDoorbellRegRing, 0x80000001);
  EXPECT_EQ(rung_, (std::vector{wire::DoorbellCommand::kCapture, wire::DoorbellCommand::kPowerOff,
                                wire::DoorbellCommand::kReady}));
  EXPECT_EQ(device_.unknown_commands(), 3U);
}

TEST_F(DoorbellTest, OnlyAlignedThirtyTwoBitWritesRing) {
  std::mt19937_64 random(17);  // NOLINT: the same every time
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t offset = random() % wire::kDoorbellWindowSize;
    const std::uint64_t value = 1 + random() % 3;
    const std::size_t size = std::size_t{1} << random() % 4;
    if (offset == wire::kDoorbellRegRing && size == 4) {
      continue;
    }
    device_.write(offset, std::as_bytes(std::span(&value, 1)).first(size));
    std::uint64_t read = 0;
    device_.read(offset, std::as_writable_bytes(std::span(&read, 1)).first(size));
  }
  EXPECT_TRUE(rung_.empty());
}

TEST_F(DoorbellTest, StateKeepsItsForm) {
  EXPECT_EQ(testing::through_json(device_.state()), device_.state());
  testing::expect_golden(device_.state(), "generation.json");
}

class GenerationPageTest : public ::testing::Test {
 protected:
  GenerationPageTest() {
    generation_.number = 3;
    generation_.id = "00112233445566778899aabbccddeEFF";
    generation_.parent_id = "ffeeddccbbaa99887766554433221100";
    generation_.parameters.child_index = 4;
    generation_.parameters.child_count = 8;
    generation_.parameters.shard_index = 1;
    generation_.parameters.shard_count = 2;
    sources_.entropy = [](std::span<std::byte> bytes) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0xe5});
    };
    sources_.now = std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(
            std::chrono::nanoseconds(1'700'000'000'123'456'000)));
  }
  void expect_refused(const std::string& why) {
    const auto page = make_generation_page(generation_, sources_);
    ASSERT_FALSE(page) << why;
    EXPECT_EQ(page.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(page.error().message().find(why), std::string::npos) << page.error().message();
  }
  Generation generation_;
  GenerationSources sources_;
};

TEST_F(GenerationPageTest, SaysWhoTheMachineIs) {
  generation_.parameters.user = {{"key", "v\"al"}};
  const auto page = make_generation_page(generation_, sources_);
  ASSERT_TRUE(page) << page.error().message();
  EXPECT_EQ(page->magic, wire::kGenerationMagic);
  EXPECT_EQ(page->number, 3U);
  EXPECT_EQ(page->id[1], 0x11);
  EXPECT_EQ(page->id[15], 0xff);
  EXPECT_EQ(page->parent_id[0], 0xff);
  EXPECT_EQ(page->entropy[63], 0xe5);
  EXPECT_EQ(page->wall_clock_seconds, 1'700'000'000U);
  EXPECT_EQ(page->wall_clock_nanoseconds, 123'456'000U);
  EXPECT_EQ(page->child_index, 4U);
  EXPECT_EQ(page->child_count, 8U);
  EXPECT_EQ(page->shard_index, 1U);
  EXPECT_EQ(page->shard_count, 2U);
  EXPECT_EQ((std::array<std::uint8_t, 6>{2, 0x11, 0x22, 0x33, 0x44, 0x55}), page->mac);
  EXPECT_STREQ(page->name.data(), "4");
  EXPECT_STREQ(page->hostname.data(), "spore-4");
  EXPECT_EQ(std::string(page->user.data(), page->user_length), R"({"key":"v\"al"})");
}

TEST_F(GenerationPageTest, AFreshBootHasNoParent) {
  generation_.parent_id.clear();
  const auto page = make_generation_page(generation_, sources_);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->parent_id, (std::array<std::uint8_t, 16>{}));
  EXPECT_EQ(std::string(page->user.data(), page->user_length), "{}");
}

TEST_F(GenerationPageTest, TakesHostnamesOfRfc1123Only) {
  const std::string longest(63, 'a');
  for (const std::string& good :
       {std::string("a"), std::string("3com"), std::string("a-b.C-d.9"), longest}) {
    generation_.parameters.hostname = good;
    const auto page = make_generation_page(generation_, sources_);
    ASSERT_TRUE(page) << good;
    EXPECT_EQ(page->hostname.data(), good);
  }
  for (const std::string& bad :
       {std::string("-a"), std::string("a-"), std::string("a..b"), std::string(".a"),
        std::string("a."), std::string("a_b"), std::string("a b"), std::string("ä"),
        std::string("a\n"), std::string("a\0b", 3), longest + "a", longest + ".a"}) {
    generation_.parameters.hostname = bad;
    expect_refused(bad.size() == 65 ? "hostname is 65 bytes" : "is no hostname");
  }
}

TEST_F(GenerationPageTest, RefusesWhatDoesNotFit) {
  const Generation good = generation_;
  const std::vector<std::pair<std::string, std::function<void(Generation&)>>> cases = {
      {"id", [](auto& g) { g.id.pop_back(); }},
      {"id", [](auto& g) { g.id.clear(); }},
      {"id", [](auto& g) { g.id[31] = 'g'; }},
      {"parent id", [](auto& g) { g.parent_id += "00"; }},
      {"child 8 of 8", [](auto& g) { g.parameters.child_index = 8; }},
      {"shard 1 of 0", [](auto& g) { g.parameters.shard_count = 0; }},
      {"name is 64 bytes", [](auto& g) { g.parameters.name = std::string(64, 'n'); }},
      {"NUL", [](auto& g) { g.parameters.name = std::string("a\0b", 3); }},
      {"at most 3072", [](auto& g) { g.parameters.user["k"] = std::string(3072, 'x'); }},
      // As JSON each of them takes six bytes.
      {"at most 3816", [](auto& g) { g.parameters.user["k"] = std::string(635, '\1'); }},
      {"UTF-8", [](auto& g) { g.parameters.user["k"] = "\xff"; }},
  };
  for (const auto& [why, damage] : cases) {
    generation_ = good;
    damage(generation_);
    expect_refused(why);
  }
  generation_ = good;
  generation_.parameters.name = std::string(63, 'n');
  for (const auto& [text, length] :
       {std::pair{std::string(3071, 'x'), 3079}, {std::string(634, '\1'), 3812}}) {
    generation_.parameters.user["k"] = text;
    const auto page = make_generation_page(generation_, sources_);
    ASSERT_TRUE(page) << page.error().message();
    EXPECT_EQ(page->user_length, length);
  }
}

TEST(GenerationIdTest, IsHexadecimalAndNeverZero) {
  EXPECT_EQ(make_generation_id([](std::span<std::byte> bytes) {
              std::fill(bytes.begin(), bytes.end(), std::byte{0xa0});
            }),
            "a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0");
  EXPECT_EQ(make_generation_id([](std::span<std::byte>) {}), std::string(31, '0') + "1");
}

}  // namespace
}  // namespace spore::devices
