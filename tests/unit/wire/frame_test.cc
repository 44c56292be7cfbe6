#include "wire/frame.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace spore::wire {
namespace {

std::string encoded(std::uint16_t type, std::uint64_t subject, std::string_view payload) {
  std::string bytes;
  encode_frame(type, subject, payload, bytes);
  return bytes;
}

TEST(FrameTest, HasTheDocumentedLayout) {
  EXPECT_EQ(encoded(0x0201, 0x0807060504030201, "ab"),
            std::string("\2\0\0\0\1\2\0\0\1\2\3\4\5\6\7\10ab", 18));
}

TEST(FrameTest, GivesBackWholeFramesWhereverTheBytesAreCut) {
  const std::string bytes = encoded(1, 7, "first") + encoded(2, 8, "") + encoded(3, 9, "third");
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    FrameDecoder decoder;
    std::string payloads;
    unsigned frames = 0;
    for (const auto& part : {bytes.substr(0, cut), bytes.substr(cut)}) {
      decoder.feed(part);
      while (true) {
        auto frame = decoder.next();
        ASSERT_TRUE(frame) << cut;
        if (!*frame) {
          break;
        }
        payloads += (*frame)->payload + "|";
        ++frames;
        EXPECT_EQ((*frame)->type, frames);
        EXPECT_EQ((*frame)->subject, frames + 6);
      }
    }
    EXPECT_EQ(payloads, "first||third|") << cut;
    EXPECT_EQ(decoder.pending(), 0U);
  }
}

TEST(FrameTest, ATruncatedFrameIsNotGivenBack) {
  const std::string bytes = encoded(1, 7, "payload");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    FrameDecoder decoder;
    decoder.feed(bytes.substr(0, size));
    const auto frame = decoder.next();
    ASSERT_TRUE(frame) << size;
    EXPECT_FALSE(*frame) << size;
    EXPECT_EQ(decoder.pending(), size);
  }
}

TEST(FrameTest, TakesTheLargestPayloadAndNothingLarger) {
  FrameDecoder decoder;
  decoder.feed(encoded(1, 1, std::string(kMaxPayload, 'x')));
  const auto frame = decoder.next();
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ((*frame)->payload.size(), kMaxPayload);

  std::string too_long = encoded(1, 1, "");
  const auto length = static_cast<std::uint32_t>(kMaxPayload + 1);
  too_long.replace(0, 4, reinterpret_cast<const char*>(&length), 4);
  decoder.feed(too_long);
  EXPECT_EQ(decoder.next().error().code(), ErrorCode::kCorrupt);
}

TEST(FrameTest, ABrokenStreamStaysBroken) {
  FrameDecoder decoder;
  std::string bad = encoded(1, 1, "");
  bad[6] = 1;  // reserved
  decoder.feed(bad);
  EXPECT_FALSE(decoder.next());
  decoder.feed(encoded(1, 1, "good"));
  EXPECT_FALSE(decoder.next());
}

TEST(FrameTest, RandomBytesNeverGiveMoreThanWasFed) {
  std::mt19937_64 random(23);  // NOLINT: the same every time
  for (int round = 0; round < 2000; ++round) {
    FrameDecoder decoder;
    std::size_t fed = 0;
    std::size_t given = 0;
    for (int i = 0; i < 20; ++i) {
      std::string bytes(random() % 64, '\0');
      for (char& byte : bytes) {
        byte = static_cast<char>(random() % 4 == 0 ? random() : 0);
      }
      decoder.feed(bytes);
      fed += bytes.size();
      for (auto frame = decoder.next(); frame && *frame; frame = decoder.next()) {
        given += kFrameHeaderSize + (*frame)->payload.size();
      }
      ASSERT_EQ(given + decoder.pending(), fed);
    }
  }
}

}  // namespace
}  // namespace spore::wire
