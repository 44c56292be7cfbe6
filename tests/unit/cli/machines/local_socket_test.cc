#include "cli/machines/local_socket.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/temporary_directory.h"

namespace spore::cli::machines {
namespace {

using testing::TemporaryDirectory;

TEST(LocalSocket, MayHaveALongPath) {
  const TemporaryDirectory directory;
  std::string deep = directory.path();
  for (int i = 0; i < 4; ++i) {
    deep += "/" + std::string(60, 'd');
    std::filesystem::create_directory(deep);
  }
  ASSERT_GT(deep.size(), 200U);
  const auto listener = listen_at(deep, "socket");
  ASSERT_TRUE(listener) << listener.error().message();
  EXPECT_TRUE(connect_to(deep, "socket"));
  EXPECT_FALSE(listen_at(deep, "socket")) << "it is there already";
  EXPECT_EQ(connect_to(deep, "other").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace spore::cli::machines
