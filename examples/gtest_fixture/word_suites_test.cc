// Suites that set themselves up, of tests that each ruin what was set up: in one process all but
// the first of a suite fail. Here each test starts where SetUpTestSuite has just ended, which runs
// once:
//
//   spore-test --scope=suite --spore-dist=each word_suites_fixture_test
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "word_index.h"

namespace {

using example::word;
using example::WordIndex;

constexpr std::size_t kWords = 100'000;

class Vocabulary : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    index_ = std::make_unique<WordIndex>();
    index_->build(kWords);
    std::printf("indexed %zu words\n", kWords);
  }
  static void TearDownTestSuite() { index_.reset(); }
  void SetUp() override { ASSERT_EQ(index_->length(), kWords) << "another test changed it"; }

  static std::unique_ptr<WordIndex> index_;
};
std::unique_ptr<WordIndex> Vocabulary::index_;

TEST_F(Vocabulary, Grows) {
  index_->add("spore");
  EXPECT_EQ(index_->find("spore").size(), 1U);
}
TEST_F(Vocabulary, IsForgotten) {
  index_->clear();
  EXPECT_TRUE(index_->find(word(7)).empty());
}
TEST_F(Vocabulary, KnowsNoWordOfAnotherTest) {
  EXPECT_TRUE(index_->find("spore").empty());
  index_->clear();
}

class Journal : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::ofstream(path()) << "opened\n";
    std::puts("opened the journal");
  }
  static void TearDownTestSuite() { std::remove(path().c_str()); }
  static std::string path() { return testing::TempDir() + "spore-example-journal"; }
  static std::string text() {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void note(const std::string& line) {
    EXPECT_EQ(text(), "opened\n") << "another test wrote";
    std::ofstream(path(), std::ios::app) << line << "\n";
    EXPECT_EQ(text(), "opened\n" + line + "\n");
  }
};

TEST_F(Journal, TakesAWord) {
  note(word(1));
}
TEST_F(Journal, TakesAnotherWord) {
  note(word(2));
}

}  // namespace
