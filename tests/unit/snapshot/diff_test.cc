#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "spore/disk.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> fields_of(const SporeDifference& difference) {
  std::vector<std::string> fields;
  for (const FieldDifference& field : difference.fields) {
    fields.push_back(field.part + field.path + ": " + field.left + " | " + field.right);
  }
  return fields;
}

// "<first page>+<pages>"
std::vector<std::string> pages_of(const SporeDifference& difference) {
  std::vector<std::string> pages;
  for (const RamRange& range : difference.ranges) {
    pages.push_back(std::to_string(range.offset / kPageBytes) + "+" +
                    std::to_string(range.bytes / kPageBytes));
  }
  return pages;
}

TEST(Diff, ASporeIsTheSameAsItself) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  const std::string b = write_sample(folder.path("b"));
  const auto difference = diff_spores(a, b);
  ASSERT_TRUE(difference) << difference.error().message();
  EXPECT_TRUE(difference->same());
  EXPECT_EQ(difference->chunks_read, 0U);
}

TEST(Diff, FindsPagesAndReadsOnlyTheirChunks) {
  const TemporaryFolder folder;
  const std::string a =
      write_sample(folder.path("a"), {.pages = {{1, 1}, {2, 2}, {600, 3}, {1100, 4}}});
  const std::string b =
      write_sample(folder.path("b"), {.pages = {{1, 1}, {2, 9}, {3, 9}, {600, 3}, {1600, 5}}});
  const auto difference = diff_spores(a, b);
  ASSERT_TRUE(difference) << difference.error().message();
  EXPECT_FALSE(difference->same());
  EXPECT_EQ(difference->pages, 4U);
  EXPECT_THAT(pages_of(*difference), ElementsAre("2+2", "1100+1", "1600+1"));
  EXPECT_EQ(difference->chunks_read, 4U);  // not that of page 600
  EXPECT_THAT(difference->fields, IsEmpty());
}

TEST(Diff, LayersAreComparedAsTheyAreComposed) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("base"));  // pages 1, 2, 600
  const std::string layer =
      write_sample(folder.path("layer"), {.pages = {{2, 77}, {600, 0}}, .parent = base});
  const std::string top =
      write_sample(folder.path("top"), {.pages = {{2, 78}, {5, 5}}, .parent = layer});
  const std::string whole =
      write_sample(folder.path("whole"), {.pages = {{1, 11}, {2, 78}, {5, 5}}});
  const auto same = diff_spores(top, whole);
  ASSERT_TRUE(same) << same.error().message();
  EXPECT_EQ(same->pages, 0U);
  const auto with_base = diff_spores(base, top);
  ASSERT_TRUE(with_base) << with_base.error().message();
  EXPECT_THAT(pages_of(*with_base), ElementsAre("2+1", "5+1", "600+1"));
}

TEST(Diff, PagesThatOnlyOneHasAreZerosInTheOther) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"), {.pages = {{1, 11}}});
  const std::string b =
      write_sample(folder.path("b"), {.memory_bytes = 16 * kMiB, .pages = {{1, 11}, {4000, 1}}});
  const auto difference = diff_spores(a, b);
  ASSERT_TRUE(difference) << difference.error().message();
  EXPECT_THAT(pages_of(*difference), ElementsAre("4000+1"));
  EXPECT_THAT(fields_of(*difference), ElementsAre("platform/memory_bytes: 8388608 | 16777216"));
}

TEST(Diff, FieldsAreNamedByPointers) {
  const TemporaryFolder folder;
  write_all(folder.path("x"), "x");
  const std::string a =
      write_sample(folder.path("a"), {.vm = R"({"cpus":[{"rip":1,"rsp":2}],"a/b":[1,2,3]})",
                                      .annotations = {{"k", "v"}, {"only", "left"}},
                                      .cpu_features = {"avx", "sse3"}});
  const std::string b =
      write_sample(folder.path("b"), {.vm = R"({"cpus":[{"rip":1,"rsp":3}],"a/b":[1,2]})",
                                      .agent = R"({"processes":[{"id":1},{"id":2}]})",
                                      .images = {folder.path("x")},
                                      .annotations = {{"k", "w"}},
                                      .cpu_features = {"aes", "avx", "sse3"}});
  const auto difference = diff_spores(a, b);
  ASSERT_TRUE(difference) << difference.error().message();
  EXPECT_EQ(difference->pages, 0U);
  const std::string image =
      nlohmann::json({{"bytes", 1}, {"name", folder.path("x")}, {"sha256", base::sha256_of("x")}})
          .dump();
  EXPECT_THAT(
      fields_of(*difference),
      ElementsAre("platform/cpu_features/aes:  | true", "images/0:  | " + image,
                  "annotations/k: \"v\" | \"w\"", "annotations/only: \"left\" | ",
                  "vm/a~1b/2: 3 | ", "vm/cpus/0/rsp: 2 | 3", "agent/processes/1:  | {\"id\":2}"));
}

TEST(Diff, AChildOnDiskDiffersInWhoItIs) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"));
  ASSERT_TRUE(fork_spore(a, 2, folder.path("kids")));
  const auto with_parent = diff_spores(a, folder.path("kids/000001"));
  ASSERT_TRUE(with_parent) << with_parent.error().message();
  EXPECT_EQ(with_parent->pages, 0U);
  ASSERT_EQ(with_parent->fields.size(), 1U);
  EXPECT_EQ(with_parent->fields[0].part, "fork");
  const auto siblings = diff_spores(folder.path("kids/000000"), folder.path("kids/000001"));
  ASSERT_TRUE(siblings) << siblings.error().message();
  EXPECT_THAT(fields_of(*siblings),
              ElementsAre("fork/child_index: 0 | 1", "fork/shard_index: 0 | 1"));
}

TEST(Diff, ADamagedChunkIsNamed) {
  const TemporaryFolder folder;
  const std::string a = write_sample(folder.path("a"), {.pages = {{1, 1}}});
  const std::string b = write_sample(folder.path("b"), {.pages = {{1, 2}}});
  flip_byte(a_chunk_of(b), 9);
  const auto difference = diff_spores(a, b);
  ASSERT_FALSE(difference);
  EXPECT_EQ(difference.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(difference.error().message(), HasSubstr(a_chunk_of(b)));
}

TEST(Diff, ALayerOnNothingIsRefused) {
  const TemporaryFolder folder;
  const std::string base = write_sample(folder.path("base"));
  const std::string layer = write_sample(folder.path("layer"), {.parent = base});
  // The same layer, said to be on top of a spore with other RAM.
  const std::string other = write_sample(folder.path("other"), {.pages = {{7, 7}}});
  nlohmann::json manifest = nlohmann::json::parse(read_all(layer + "/manifest.json"));
  manifest["parent"] = base::sha256_of(read_all(other + "/manifest.json"));
  write_all(layer + "/manifest.json", manifest.dump());
  write_all(layer + "/manifest.sha256", base::sha256_of(manifest.dump()) + "  manifest.json\n");
  write_all(layer + "/parent", "../other");
  const auto difference = diff_spores(base, layer);
  ASSERT_FALSE(difference);
  EXPECT_EQ(difference.error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace spore::snapshot::test
