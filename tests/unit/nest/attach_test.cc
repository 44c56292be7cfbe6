#include "nest/attach.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>
#include <thread>

#include "support/temporary_directory.h"
#include "wire/nest_attach.h"

namespace spore::nest {
namespace {

using testing::TemporaryDirectory;

using wire::AttachKind;
using wire::AttachRecord;
using namespace std::chrono_literals;

constexpr auto kBound = 30s;

// The nest's side of one port, played by the test.
class FakePort : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = base::UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener_.get(), 4), 0);
  }

  base::UniqueFd accept_client() {
    pollfd entry{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&entry, 1, 30'000), 1);
    return base::UniqueFd(accept(listener_.get(), nullptr, nullptr));
  }

  static AttachRecord read_record(const base::UniqueFd& client) {
    AttachRecord record;
    EXPECT_EQ(recv(client.get(), &record, sizeof(record), MSG_WAITALL),
              static_cast<ssize_t>(sizeof(record)));
    return record;
  }
  static void echo(const base::UniqueFd& client, const AttachRecord& asked) {
    const auto answer = wire::make_attach_record(AttachKind::kEcho, asked.sequence, asked.nonce);
    send_bytes(client, &answer, sizeof(answer));
  }
  static void send_bytes(const base::UniqueFd& client, const void* bytes, std::size_t size) {
    EXPECT_EQ(send(client.get(), bytes, size, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_ / "port.sock";
  base::UniqueFd listener_;
};

AttachOptions options(std::optional<std::chrono::milliseconds> reconnect_after) {
  return {.deadline = SteadyClock::now() + kBound, .reconnect_after = reconnect_after};
}

TEST_F(FakePort, IsTakenOverAfterTheEcho) {
  std::thread nest([this] {
    const auto client = accept_client();
    const auto asked = read_record(client);
    EXPECT_EQ(asked.kind, AttachKind::kAttach);
    echo(client, asked);
    const auto decided = read_record(client);
    EXPECT_EQ(decided.kind, AttachKind::kGo);
    EXPECT_EQ(decided.nonce, asked.nonce);
    send_bytes(client, "hello", 5);
  });
  auto attachment = Attachment::attach(path_, options(std::nullopt));
  ASSERT_TRUE(attachment) << attachment.error().message();
  const auto stream = attachment->go();
  ASSERT_TRUE(stream);
  char bytes[5];
  EXPECT_EQ(recv(stream->get(), bytes, sizeof(bytes), MSG_WAITALL), 5);
  EXPECT_EQ(std::string(bytes, 5), "hello");
  nest.join();
}

TEST_F(FakePort, LeftoversOfAnotherClientAreReadPast) {
  std::thread nest([this] {
    const auto client = accept_client();
    const auto asked = read_record(client);
    auto stale = wire::make_attach_record(AttachKind::kEcho, 1, asked.nonce);
    stale.nonce[0] ^= 1;
    send_bytes(client, &stale, sizeof(stale));
    send_bytes(client, wire::kAttachMagic.data(), wire::kAttachMagic.size());  // cut off
    const std::string frames(10'000, '\xff');
    send_bytes(client, frames.data(), frames.size());
    echo(client, asked);
    EXPECT_EQ(read_record(client).kind, AttachKind::kPowerOff);
  });
  auto attachment = Attachment::attach(path_, options(std::nullopt));
  ASSERT_TRUE(attachment);
  EXPECT_TRUE(attachment->power_off());
  nest.join();
}

TEST_F(FakePort, ConnectsAnewWhenNobodyAnswers) {
  std::thread nest([this] {
    const auto deaf = accept_client();
    const auto first = read_record(deaf);
    const auto client = accept_client();
    const auto second = read_record(client);
    EXPECT_EQ(second.nonce, first.nonce);
    echo(client, first);  // of the attempt before: must not count
    echo(client, second);
    EXPECT_EQ(read_record(client).sequence, second.sequence);
  });
  auto attachment = Attachment::attach(path_, options(500ms));
  ASSERT_TRUE(attachment) << attachment.error().message();
  EXPECT_TRUE(attachment->go());
  nest.join();
}

TEST_F(FakePort, AHangUpMeansThatQemuIsGone) {
  std::thread nest([this] { accept_client(); });
  const auto attachment = Attachment::attach(path_, options(std::nullopt));
  ASSERT_FALSE(attachment);
  EXPECT_EQ(attachment.error().code(), ErrorCode::kMachineEnded);
  nest.join();
}

TEST_F(FakePort, SilenceIsBounded) {
  const auto attachment = Attachment::attach(
      path_, {.deadline = SteadyClock::now() + 20ms, .reconnect_after = std::nullopt});
  ASSERT_FALSE(attachment);
  EXPECT_EQ(attachment.error().code(), ErrorCode::kTimedOut);
}

TEST(Attachment, ToASocketThatIsNotThereSaysSo) {
  const TemporaryDirectory directory;
  const auto attachment = Attachment::attach(directory / "none.sock", options(10ms));
  ASSERT_FALSE(attachment);
  EXPECT_EQ(attachment.error().code(), ErrorCode::kMachineEnded);
}

TEST(AttachScanner, FindsARecordInGarbage) {
  wire::AttachScanner scanner;
  const auto record = wire::make_attach_record(AttachKind::kAttach, 7, {1, 2, 3});
  std::string bytes(100, '\xff');
  bytes.append(reinterpret_cast<const char*>(&record), sizeof(record));
  int found = 0;
  for (const char byte : bytes) {
    if (const auto seen = scanner.feed(byte)) {
      ++found;
      EXPECT_EQ(seen->sequence, 7U);
      EXPECT_EQ(seen->nonce, record.nonce);
    }
  }
  EXPECT_EQ(found, 1);
}

}  // namespace
}  // namespace spore::nest
