#include "agent/generation.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

namespace spore::agent {
namespace {

template <std::size_t N>
std::string hex_of(const std::array<std::uint8_t, N>& bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4U]);
    text.push_back(kDigits[byte & 15U]);
  }
  return text;
}

std::string mac_of(const std::array<std::uint8_t, 6>& mac) {
  const std::string digits = hex_of(mac);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    text.append(text.empty() ? "" : ":").append(digits, i, 2);
  }
  return text;
}

template <std::size_t N>
std::string text_of(const std::array<char, N>& field) {
  return {field.begin(), std::find(field.begin(), field.end(), '\0')};
}

template <typename Array>
bool is_zero(const Array& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == 0; });
}

}  // namespace

Identity identity_of(const wire::GenerationPage& page) {
  Identity identity;
  identity.number = page.number;
  identity.id = hex_of(page.id);
  identity.parent_id = is_zero(page.parent_id) ? "" : hex_of(page.parent_id);
  identity.name = text_of(page.name);
  identity.hostname = text_of(page.hostname);
  identity.mac = is_zero(page.mac) ? "" : mac_of(page.mac);
  identity.child_index = page.child_index;
  identity.child_count = page.child_count;
  identity.shard_index = page.shard_index;
  identity.shard_count = page.shard_count;
  const std::size_t length = std::min<std::size_t>(page.user_length, page.user.size());
  const auto user =
      nlohmann::json::parse(page.user.data(), page.user.data() + length, nullptr, false);
  if (user.is_object()) {
    identity.user = user.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  return identity;
}

std::string Identity::to_json() const {
  const nlohmann::json fields{
      {"number", number},           {"id", id},
      {"parent_id", parent_id},     {"name", name},
      {"hostname", hostname},       {"mac", mac},
      {"child_index", child_index}, {"child_count", child_count},
      {"shard_index", shard_index}, {"shard_count", shard_count},
  };
  std::string text = fields.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.pop_back();
  return text.append(",\"user\":").append(user).append("}\n");
}

}  // namespace spore::agent
