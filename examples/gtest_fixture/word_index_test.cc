// Eight tests on one expensive index, of which half ruin it: in one process they fail, each test
// after such a one. With eight children each has the index for itself:
//
//   spore-test --shards 8 word_index_fixture_test    # spore_gtest_main: the index is built once
//   spore-test --shards 8 word_index_plain_test      # gtest_main: every child builds it
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "word_index.h"

namespace {

using example::word;
using example::WordIndex;

constexpr std::size_t kWords = 300'000;

std::unique_ptr<WordIndex> g_index;

class IndexEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    const auto start = std::chrono::steady_clock::now();
    g_index = std::make_unique<WordIndex>();
    g_index->build(kWords);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("indexed %zu words in %.2f s\n", kWords, took.count());
    std::fflush(stdout);
  }
  void TearDown() override { g_index.reset(); }
};
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new IndexEnvironment);

// What every test may rely on, because none sees what another did.
class Search : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(g_index, nullptr);
    ASSERT_EQ(g_index->length(), kWords) << "another test changed the index";
  }
};
class Update : public Search {};
class Ruin : public Search {};

TEST_F(Search, FindsAWordWhereItStands) {
  const auto places = g_index->find(word(7));
  ASSERT_FALSE(places.empty());
  EXPECT_LT(places.front(), kWords);
}
TEST_F(Search, GivesPlacesInOrder) {
  const auto places = g_index->find(word(42));
  for (std::size_t i = 1; i < places.size(); ++i) {
    ASSERT_LT(places[i - 1], places[i]);
  }
}

class Complete : public Search, public testing::WithParamInterface<const char*> {};
TEST_P(Complete, GivesWordsThatBeginSo) {
  const auto words = g_index->complete(GetParam(), 5);
  ASSERT_FALSE(words.empty());
  for (const std::string& found : words) {
    EXPECT_EQ(found.rfind(GetParam(), 0), 0U) << found;
  }
}
INSTANTIATE_TEST_SUITE_P(Letters, Complete, testing::Values("a", "zz"));

TEST_F(Update, AddsAWord) {
  g_index->add("spore");
  EXPECT_EQ(g_index->find("spore").back(), kWords);
}
TEST_F(Update, ErasesAWord) {
  EXPECT_GT(g_index->erase(word(7)), 0U);
  EXPECT_TRUE(g_index->find(word(7)).empty());
}
TEST_F(Ruin, ClearsTheIndex) {
  g_index->clear();
  EXPECT_EQ(g_index->distinct(), 0U);
  EXPECT_TRUE(g_index->find(word(42)).empty());
}
TEST_F(Ruin, FillsItWithOneWord) {
  for (int i = 0; i < 1000; ++i) {
    g_index->add("again");
  }
  EXPECT_EQ(g_index->find("again").size(), 1000U);
}

}  // namespace
