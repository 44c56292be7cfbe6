// Parts of the agent without a loop: users and identities.
#include <gmock/gmock.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/generation.h"
#include "agent/users.h"

namespace spore::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class UsersTest : public testing::Test {
 protected:
  void SetUp() override {
    etc_ = testing::TempDir() + "spore-users-" + std::to_string(::getpid());
    std::filesystem::create_directories(etc_);
    std::ofstream(etc_ + "/passwd") << "nonsense\n::::::\nbad:x:abc:0::/:\n"
                                    << "root:x:0:0:root:/root:/bin/sh\n"
                                    << "joe:x:1000:1001:Joe:/home/joe:/bin/sh";
    std::ofstream(etc_ + "/group") << "nonsense\njoe:x:1001:\nvideo:x:44:ann,joe\nx:x:y:joe\n"
                                   << "audio:x:29:joey\nkvm:x:104:joe\n";
  }
  void TearDown() override { std::filesystem::remove_all(etc_); }
  std::string etc_;
};

TEST_F(UsersTest, ByNameAndByNumber) {
  for (const auto* who : {"joe", "1000"}) {
    const auto user = find_user(who, etc_);
    ASSERT_TRUE(user);
    EXPECT_EQ(user->uid, 1000U);
    EXPECT_EQ(user->gid, 1001U);
    EXPECT_EQ(user->home, "/home/joe");
    EXPECT_THAT(user->groups, ElementsAre(1001U, 44U, 104U));
  }
}

TEST_F(UsersTest, ANumberWithoutAnEntry) {
  const auto user = find_user("77", etc_);
  ASSERT_TRUE(user);
  EXPECT_EQ(user->gid, 77U);
  EXPECT_EQ(user->home, "/");
  EXPECT_THAT(user->groups, ElementsAre(77U));
}

TEST_F(UsersTest, AnUnknownNameIsRefused) {
  for (const auto* who : {"ann", "", "bad", "-1", "99999999999"}) {
    EXPECT_FALSE(find_user(who, etc_)) << who;
  }
  EXPECT_THAT(find_user("ann", etc_).error().message(), HasSubstr("no user ann"));
}

TEST_F(UsersTest, WithoutFilesNumbersStillWork) {
  EXPECT_TRUE(find_user("0", etc_ + "/none"));
  EXPECT_FALSE(find_user("root", etc_ + "/none"));
}

wire::GenerationPage page_with(std::string_view user) {
  wire::GenerationPage page;
  page.number = 3;
  page.id = {0x01, 0xff};
  page.child_index = 2;
  page.child_count = 5;
  page.mac = {2, 0, 0, 0, 0, 0xab};
  std::string_view("child \"2\"").copy(page.name.data(), page.name.size());
  user.copy(page.user.data(), page.user.size());
  page.user_length = static_cast<std::uint16_t>(user.size());
  return page;
}

TEST(IdentityTest, IsWhatThePageSays) {
  const auto text = identity_of(page_with(R"({"k": "v"})")).to_json();
  EXPECT_EQ(text.find('\n'), text.size() - 1) << "one line";
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["number"], 3);
  EXPECT_EQ(json["id"], "01ff0000000000000000000000000000");
  EXPECT_EQ(json["parent_id"], "");
  EXPECT_EQ(json["name"], "child \"2\"");
  EXPECT_EQ(json["mac"], "02:00:00:00:00:ab");
  EXPECT_EQ(json["child_index"], 2);
  EXPECT_EQ(json["child_count"], 5);
  EXPECT_EQ(json["shard_count"], 1);
  EXPECT_EQ(json["user"]["k"], "v");
}

TEST(IdentityTest, LengthsOverTheirFieldsAreCut) {
  auto page = page_with("{}");
  page.user.fill('[');
  page.user_length = 0xffff;
  page.name.fill('n');
  page.hostname.fill('\xff');
  const auto json = nlohmann::json::parse(identity_of(page).to_json());
  EXPECT_EQ(json["name"].get<std::string>().size(), page.name.size());
  EXPECT_EQ(json["user"], nlohmann::json::object());
}

}  // namespace
}  // namespace spore::agent
