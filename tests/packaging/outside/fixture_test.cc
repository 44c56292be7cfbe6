// A GoogleTest program with a fixture point, and with all that a name of a test can be.
#include <gtest/gtest.h>
#include <spore_guest.h>

#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace {

unsigned g_token = 0;

// Random, so that tests which say the same come from one set-up.
class TokenEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    std::cout << "setting up\n";
    g_token = std::random_device()();
  }
};
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new TokenEnvironment);

class Machine : public testing::Test {
 protected:
  void SetUp() override { std::cout << "machine of " << g_token << "\n"; }
};

TEST_F(Machine, IsTheOnlyOne) {
  spore_generation self{};
  ASSERT_EQ(spore_generation_get(&self), 0);
  std::cout << "index " << self.shard_index << " of " << self.shard_count << "\n";
  EXPECT_EQ(self.shard_count, 1U);
}
TEST_F(Machine, SkipsWhatItCannot) {
  GTEST_SKIP() << "not today";
}
TEST_F(Machine, DISABLED_Fails) {
  FAIL();
}
TEST_F(Machine, Fails) {
  EXPECT_EQ(g_token, 0U) << "no machine has this token";
}

class DISABLED_Off : public Machine {};
TEST_F(DISABLED_Off, Fails) {
  FAIL();
}

class Text : public Machine, public testing::WithParamInterface<const char*> {};
TEST_P(Text, HasCharacters) {
  EXPECT_NE(std::string(GetParam()), "");
}
INSTANTIATE_TEST_SUITE_P(Odd, Text,
                         testing::Values("a;b", "[", "]", "\"quoted\"", "back\\", "$HOME ${HOME}",
                                         "# and ' and @x@", "same", "same"));

template <typename T>
class Typed : public Machine {};
using Types = testing::Types<int, std::vector<int[2]>>;
TYPED_TEST_SUITE(Typed, Types);
TYPED_TEST(Typed, HasAType) {
  EXPECT_GT(sizeof(TypeParam), 0U);
}

struct Names {
  template <typename T>
  static std::string GetName(int index) {
    return index == 0 ? "std::int*" : "a-b";
  }
};
template <typename T>
class Named : public Machine {};
TYPED_TEST_SUITE(Named, Types, Names);
TYPED_TEST(Named, HasAName) {
  EXPECT_GT(sizeof(TypeParam), 0U);
}

}  // namespace
