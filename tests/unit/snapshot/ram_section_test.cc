#include "snapshot/ram_section.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "snapshot/document.h"
#include "spore/machine.h"

namespace spore::snapshot {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kMemory = 64 * kMiB;  // 32 chunks

ChunkRef chunk(std::uint32_t number, std::initializer_list<std::size_t> pages) {
  ChunkRef chunk;
  chunk.chunk = number;
  for (const std::size_t page : pages) {
    chunk.pages.add(page);
  }
  chunk.sha256 = std::string(64, 'a');
  return chunk;
}

RamSection section() {
  return {kMemory, "", {chunk(0, {0, 511}), chunk(3, {7}), chunk(31, {0, 1, 2, 511})}};
}

Result<RamSection> parse(const RamSection& section, std::uint64_t memory = kMemory) {
  return parse_ram_section(to_document(section), memory, "section ram");
}

void expect_refused(const std::function<void(nlohmann::json&)>& change, const char* why) {
  nlohmann::json json = section();
  change(json);
  const auto parsed = parse_ram_section(json.dump(), kMemory, "section ram");
  ASSERT_FALSE(parsed) << json.dump();
  EXPECT_EQ(parsed.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(parsed.error().message(), HasSubstr("section ram"));
  EXPECT_THAT(parsed.error().message(), HasSubstr(why));
}

TEST(RamSectionTest, ComesBack) {
  const auto parsed = parse(section());
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(parsed->chunks, section().chunks);
  EXPECT_EQ(parsed->stored_pages(), 7U);
  EXPECT_EQ(to_document(*parsed), to_document(section()));
  RamSection layer = section();
  layer.base = std::string(64, 'b');
  EXPECT_EQ(parse(layer)->base, layer.base);
  EXPECT_TRUE(parse({kMemory, "", {}}));
}

TEST(RamSectionTest, PagesAreSpelledLowestFirst) {
  PageSet pages;
  EXPECT_EQ(pages.count(), 0U);
  pages.add(0);
  pages.add(9);
  pages.add(511);
  EXPECT_EQ(pages.to_text(), "0102" + std::string(120, '0') + "0080");
  const auto back = PageSet::from_text(pages.to_text());
  ASSERT_TRUE(back);
  EXPECT_TRUE(*back == pages);
  EXPECT_EQ(back->count(), 3U);
  EXPECT_TRUE(back->contains(9));
  EXPECT_FALSE(back->contains(8));
}

TEST(RamSectionTest, OtherSizesOfMemoryAreRefused) {
  EXPECT_FALSE(parse(section(), kMemory + kMiB));
  EXPECT_FALSE(parse(section(), kMemory - kMiB));
  EXPECT_FALSE(parse(section(), 0));
  expect_refused([](auto& json) { json["size"] = 0; }, "RAM of 0 bytes");
  expect_refused([](auto& json) { json["size"] = 18446744073709551615U; }, "the machine has");
  // A size that is no number of pages, even if the machine claims it too.
  EXPECT_FALSE(parse({4097, "", {}}, 4097));
}

TEST(RamSectionTest, ABaseIsADigest) {
  for (const std::string& bad : {std::string("x"), std::string(64, 'B'), std::string(63, 'a'),
                                 std::string("../") + std::string(61, 'a')}) {
    expect_refused([&](auto& json) { json["base"] = bad; }, "base is named by no SHA-256");
  }
  expect_refused([](auto& json) { json["base"] = nullptr; }, "");
}

TEST(RamSectionTest, ChunksAscend) {
  expect_refused([](auto& json) { std::swap(json["chunks"][0], json["chunks"][1]); },
                 "not in order");
  expect_refused([](auto& json) { json["chunks"].push_back(json["chunks"][2]); }, "not in order");
  expect_refused([](auto& json) { json["chunks"][1]["chunk"] = 0; }, "not in order");
}

TEST(RamSectionTest, PagesBehindTheEndAreRefused) {
  expect_refused([](auto& json) { json["chunks"][2]["chunk"] = 32; }, "behind the end of RAM");
  expect_refused([](auto& json) { json["chunks"][2]["chunk"] = 4294967295U; }, "behind the end");
  expect_refused([](auto& json) { json["chunks"][2]["chunk"] = 4294967296U; }, "");
  expect_refused([](auto& json) { json["chunks"][2]["chunk"] = -1; }, "");
  // The last chunk of a machine may be half a one.
  const std::uint64_t odd = 65 * kMiB;
  EXPECT_TRUE(parse({odd, "", {chunk(32, {0, 255})}}, odd));
  EXPECT_FALSE(parse({odd, "", {chunk(32, {256})}}, odd));
}

TEST(RamSectionTest, AChunkHasPagesAndAName) {
  expect_refused([](auto& json) { json["chunks"][0]["pages"] = std::string(128, '0'); },
                 "chunk 0 has no name, or no pages");
  for (const std::string& bad :
       {std::string(), std::string(127, '1'), std::string(126, '1'), std::string(130, '1'),
        std::string(128, 'F'), std::string(128, 'x'), std::string(100'000, '1')}) {
    expect_refused([&](auto& json) { json["chunks"][0]["pages"] = bad; }, "");
  }
  for (const std::string& bad :
       {std::string(), std::string(64, 'A'), std::string(64, '.'), "../" + std::string(61, 'a')}) {
    expect_refused([&](auto& json) { json["chunks"][0]["sha256"] = bad; }, "chunk 0 has no name");
  }
  expect_refused([](auto& json) { json["chunks"][0]["pages"] = 1; }, "");
  expect_refused([](auto& json) { json["chunks"][0]["pages"] = nullptr; }, "");
  expect_refused([](auto& json) { json["chunks"][0].erase("pages"); }, "");
  expect_refused([](auto& json) { json["chunks"][0]["more"] = 1; }, "");
  expect_refused([](auto& json) { json["chunks"] = nlohmann::json::object(); }, "");
  expect_refused([](auto& json) { json["chunks"] = nullptr; }, "");
  expect_refused([](auto& json) { json["chunks"][0] = 7; }, "");
}

TEST(RamSectionTest, MoreChunksThanThereIsRamAreRefused) {
  RamSection section{kMemory, "", {}};
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    section.chunks.push_back(chunk(i, {0}));
  }
  const auto parsed = parse(section);
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message(), HasSubstr("chunk 32 has pages behind the end"));
}

TEST(RamSectionTest, EveryFlippedBitIsRefusedOrAnotherSection) {
  const std::string text = to_document(section());
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    if (const auto parsed = parse_ram_section(flipped, kMemory, "it")) {
      EXPECT_EQ(to_document(*parsed), flipped);
    }
  }
}

}  // namespace
}  // namespace spore::snapshot
