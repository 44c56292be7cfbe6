#include "snapshot/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "wire/json_shape.h"

namespace spore::snapshot {
namespace {

using ::testing::HasSubstr;

struct Sample {
  std::uint64_t large = 0;
  std::int64_t negative = 0;
  std::uint8_t small = 0;
  bool flag = false;
  std::string text;
  std::vector<std::uint32_t> list;
  std::map<std::string, std::string> map;
  bool operator==(const Sample&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Sample, large, negative, small, flag, text, list, map)

constexpr const char* kSample =
    R"({"flag":true,"large":18446744073709551615,"list":[1,4294967295],)"
    R"("map":{"a":"b","c":"d"},"negative":-9223372036854775808,"small":255,"text":"ä\n\"\\"})";

Sample sample() {
  return {std::numeric_limits<std::uint64_t>::max(),
          std::numeric_limits<std::int64_t>::min(),
          255,
          true,
          "ä\n\"\\",
          {1, 4294967295},
          {{"a", "b"}, {"c", "d"}}};
}

void expect_refused(const std::string& text) {
  const auto parsed = from_document<Sample>(text, "the sample");
  ASSERT_FALSE(parsed) << text;
  EXPECT_EQ(parsed.error().code(), ErrorCode::kCorrupt) << text;
  EXPECT_THAT(parsed.error().message(), HasSubstr("reading the sample: "));
}

// kSample with its first `from` replaced.
std::string with(std::string_view from, std::string_view to) {
  std::string text = kSample;
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(DocumentTest, AValueHasOneSpellingAndComesBack) {
  EXPECT_EQ(to_document(sample()), kSample);
  const auto parsed = from_document<Sample>(kSample, "the sample");
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_TRUE(*parsed == sample());
}

TEST(DocumentTest, WhiteSpaceAnywhereIsRefused) {
  const std::string text = kSample;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    for (const char space : {' ', '\n', '\t', '\r'}) {
      std::string spaced = text;
      spaced.insert(at, 1, space);
      // Inside a string it is content.
      const auto parsed = from_document<Sample>(spaced, "it");
      if (parsed && space == ' ') {
        EXPECT_FALSE(*parsed == sample()) << spaced;
        EXPECT_EQ(to_document(*parsed), spaced);
      } else {
        expect_refused(spaced);
      }
    }
  }
}

TEST(DocumentTest, EveryTruncationIsRefused) {
  const std::string text = kSample;
  for (std::size_t size = 0; size < text.size(); ++size) {
    expect_refused(text.substr(0, size));
  }
}

TEST(DocumentTest, AnythingBehindTheEndIsRefused) {
  for (const auto& behind : {std::string("\n"), std::string(1, '\0'), std::string("{}"),
                             std::string("//"), std::string("\xff")}) {
    expect_refused(kSample + behind);
  }
  expect_refused(std::string("\xef\xbb\xbf") + kSample);  // a byte order mark
}

TEST(DocumentTest, KeysOutOfOrderRepeatedOrUnknownAreRefused) {
  expect_refused(with(R"("flag":true,)", "").replace(0, 1, R"({"text":"",)"));
  expect_refused(with(R"({"flag":true,)", R"({"flag":true,"flag":true,)"));
  expect_refused(with(R"({"flag":true,)", R"({"flag":false,"flag":true,)"));
  expect_refused(with(R"({"flag":true,)", R"({"extra":1,"flag":true,)"));
  expect_refused(with(R"("flag":true,)", ""));
  expect_refused(with(R"("a":"b","c":"d")", R"("c":"d","a":"b")"));
  expect_refused(with(R"("a":"b","c":"d")", R"("a":"b","a":"b")"));
}

TEST(DocumentTest, OtherSpellingsOfStringsAreRefused) {
  for (const auto* other : {R"("\u00e4\n\"\\")", R"("ä\u000a\"\\")", R"("\u00E4\n\"\\")",
                            R"("ä\n\u0022\\")", R"("ä\n\"\u005c")", R"("ä\n\"\\\/")"}) {
    expect_refused(with(R"("ä\n\"\\")", other));
  }
  expect_refused(with(R"("flag")", R"("fl\u0061g")"));
}

TEST(DocumentTest, StringsThatAreNotUtf8AreRefused) {
  for (const auto* bytes :
       {"\xff", "\xc3", "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80", "\\ud800", "\\udc00\\ud800", "\n", "\x01"}) {
    expect_refused(with("ä", bytes));
  }
  expect_refused(with("ä", std::string_view("\0", 1)));
}

TEST(DocumentTest, NumbersThatAreNotPlainIntegersAreRefused) {
  for (const auto* number : {"1.0", "1e0", "1E2", "0.5", "+1", "01", "-0", "0x1", "NaN", "Infinity",
                             "-Infinity", ".5", "1.", "--1", "1e400"}) {
    expect_refused(with("255", number));
    expect_refused(with("18446744073709551615", number));
  }
}

TEST(DocumentTest, NumbersOutOfTheirFieldsRangeAreRefused) {
  for (const auto* number : {"256", "-1", "4294967296", "18446744073709551615",
                             "18446744073709551616", "9999999999999999999999"}) {
    expect_refused(with("255", number));
  }
  // The last one is 2^64 - 1 to whoever looks at its bits alone.
  for (const auto* number : {"18446744073709551616", "-9223372036854775808", "-1"}) {
    expect_refused(with("18446744073709551615", number));
  }
  for (const auto* number :
       {"9223372036854775808", "18446744073709551615", "-9223372036854775809"}) {
    expect_refused(with("-9223372036854775808", number));
  }
  expect_refused(with("[1,4294967295]", "[1,4294967296]"));
  expect_refused(with("[1,4294967295]", "[-1,4294967295]"));
}

TEST(DocumentTest, OtherTypesAreRefused) {
  for (const auto* value : {"null", "1", "0", "\"true\"", "[]", "{}"}) {
    expect_refused(with("true", value));
  }
  for (const auto* value : {"true", "false", "null", "\"255\"", "[255]", "{}"}) {
    expect_refused(with("255", value));
  }
  for (const auto* value : {"{}", "null", "1", "\"\"", "[true,4294967295]", "[[1],2]"}) {
    expect_refused(with("[1,4294967295]", value));
  }
  for (const auto* value : {"[]", "null", "[[\"a\",\"b\"]]", "{\"a\":1}"}) {
    expect_refused(with(R"({"a":"b","c":"d"})", value));
  }
  for (const auto* document : {"null", "[]", "1", "\"\"", "true", "{}"}) {
    expect_refused(document);
  }
}

TEST(DocumentTest, DepthIsBounded) {
  const auto nested = [](std::size_t depth, char open, char close) {
    return std::string(depth, open) + std::string(depth, close);
  };
  EXPECT_TRUE(parse_document(nested(wire::kMaxJsonDepth, '[', ']'), "it"));
  EXPECT_FALSE(parse_document(nested(wire::kMaxJsonDepth + 1, '[', ']'), "it"));
  // So deep that a parser that calls itself would run out of stack.
  EXPECT_FALSE(parse_document(nested(10'000'000, '[', ']'), "it"));
  EXPECT_FALSE(parse_document(std::string(10'000'000, '['), "it"));
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) {
    objects += "{\"\":";
  }
  EXPECT_FALSE(parse_document(objects, "it"));
}

TEST(DocumentTest, EveryFlippedBitIsRefusedOrAnotherValue) {
  const std::string text = kSample;
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    if (const auto parsed = from_document<Sample>(flipped, "it")) {
      EXPECT_FALSE(*parsed == sample()) << flipped;
      EXPECT_EQ(to_document(*parsed), flipped);
    }
  }
}

TEST(DocumentTest, ADigestIs64LowerCaseHexadecimalDigits) {
  EXPECT_TRUE(is_digest(std::string(64, 'a')));
  EXPECT_TRUE(is_digest("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
  EXPECT_FALSE(is_digest(""));
  EXPECT_FALSE(is_digest(std::string(63, 'a')));
  EXPECT_FALSE(is_digest(std::string(65, 'a')));
  EXPECT_FALSE(is_digest(std::string(64, 'A')));
  EXPECT_FALSE(is_digest(std::string(64, 'g')));
  EXPECT_FALSE(is_digest(std::string(63, 'a') + "/"));
  EXPECT_FALSE(is_digest(std::string(63, 'a') + std::string(1, '\0')));
}

}  // namespace
}  // namespace spore::snapshot
