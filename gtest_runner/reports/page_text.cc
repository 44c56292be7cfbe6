#include "page_text.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <optional>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kSign = "\xef\xbf\xbd";  // U+FFFD

bool is_visible(std::uint32_t point) {
  const auto within = [point](std::uint32_t first, std::uint32_t last) {
    return point >= first && point <= last;
  };
  if (point < 0x20) {
    return point == '\t' || point == '\n';
  }
  return !within(0x7f, 0x9f) && !within(0x200e, 0x200f) && !within(0x202a, 0x202e) &&
         !within(0x2066, 0x2069);
}

// The character at the front of `bytes`, and its length; nothing if these are not UTF-8.
std::optional<std::uint32_t> decode_front(std::string_view bytes, std::size_t& length) {
  constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const auto first = static_cast<unsigned char>(bytes.front());
  length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (length == 1) {
    return first;
  }
  if (first < 0xc2 || first > 0xf4 || bytes.size() < length) {
    return std::nullopt;
  }
  std::uint32_t point = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(bytes[i]);
    if ((next & 0xc0U) != 0x80) {
      return std::nullopt;
    }
    point = (point << 6U) | (next & 0x3fU);
  }
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  return point < kLeast[length] || point > 0x10ffff || surrogate ? std::nullopt
                                                                 : std::optional(point);
}

// How long the colour is that `bytes` begins with; 0: none.
std::size_t colour_length(std::string_view bytes) {
  if (!bytes.starts_with("\033[")) {
    return 0;
  }
  const auto end = bytes.find_first_not_of("0123456789;:", 2);
  return end != std::string_view::npos && bytes[end] == 'm' ? end + 1 : 0;
}

}  // namespace

std::string visible(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    if (const std::size_t colour = colour_length(bytes); colour > 0) {
      bytes.remove_prefix(colour);
      continue;
    }
    if (bytes.starts_with("\r\n")) {
      bytes.remove_prefix(1);
    }
    std::size_t length = 0;
    const auto point = decode_front(bytes, length);
    length = point ? length : 1;
    text += point && is_visible(*point) ? bytes.substr(0, length) : kSign;
    bytes.remove_prefix(length);
  }
  return text;
}

std::string escaped(std::string_view bytes) {
  std::string text;
  for (const char c : visible(bytes)) {
    switch (c) {
      case '&':
        text += "&amp;";
        break;
      case '<':
        text += "&lt;";
        break;
      case '>':
        text += "&gt;";
        break;
      case '"':
        text += "&quot;";
        break;
      case '\'':
        text += "&#x27;";
        break;
      default:
        text += c;
    }
  }
  return text;
}

std::string in_script(const nlohmann::ordered_json& value) {
  std::string text;
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  for (const char c : value.dump(-1, ' ', true, kReplace)) {
    text += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : c == '&' ? "\\u0026" : std::string(1, c);
  }
  return text;
}

std::string script_hash() {
  constexpr std::string_view kOpen = "<script>";
  const auto begin = kPageTemplate.find(kOpen) + kOpen.size();
  const auto script = kPageTemplate.substr(begin, kPageTemplate.find("</script>", begin) - begin);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_Digest(script.data(), script.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::array<unsigned char, EVP_MAX_MD_SIZE * 2> text{};
  const int length = EVP_EncodeBlock(text.data(), digest.data(), static_cast<int>(size));
  return "sha256-" + std::string(text.begin(), text.begin() + length);
}

}  // namespace spore::gtest_runner
