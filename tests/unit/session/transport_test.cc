#include "session/transport.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "support/remote_pair.h"

namespace spore::session {
namespace {

std::pair<base::UniqueFd, base::UniqueFd> make_pipe() {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

TEST(FdTransport, BytesPassThroughPipes) {
  auto [in, out] = make_pipe();
  const auto transport = FdTransport::create(std::move(in), std::move(out));
  const std::string text(1024 * 1024, 'p');
  std::thread writer([&] { EXPECT_TRUE((*transport)->write(text).has_value()); });
  std::string got;
  std::array<char, 8192> buffer;
  while (got.size() < text.size()) {
    const auto size = (*transport)->read(buffer);
    ASSERT_TRUE(size.has_value());
    got.append(buffer.data(), *size);
  }
  writer.join();
  EXPECT_EQ(got, text);
}

TEST(FdTransport, ClosingWakesReaderAndWriter) {
  auto [in, other_out] = make_pipe();
  auto [other_in, out] = make_pipe();
  const auto transport = FdTransport::create(std::move(in), std::move(out));
  std::thread reader([&] {
    std::array<char, 16> buffer;
    EXPECT_EQ((*transport)->read(buffer).value(), 0U);
  });
  std::thread writer(
      [&] { EXPECT_FALSE((*transport)->write(std::string(1024 * 1024, 'x')).has_value()); });
  (*transport)->close();
  reader.join();
  writer.join();
}

TEST(FdTransport, APeerThatWentAwayIsAnErrorAndNoSignal) {
  auto [in, other_out] = make_pipe();
  auto [other_in, out] = make_pipe();
  other_in.reset();
  other_out.reset();
  const auto pipes = FdTransport::create(std::move(in), std::move(out));
  EXPECT_FALSE((*pipes)->write("x").has_value());
  std::array<char, 16> buffer;
  EXPECT_EQ((*pipes)->read(buffer).value(), 0U);

  auto [here, there] = testing::make_socket_pair();
  there.reset();
  const auto socket = FdTransport::create(std::move(here));
  EXPECT_FALSE((*socket)->write("x").has_value());
}

}  // namespace
}  // namespace spore::session
