#include "devices/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/hex.h"

namespace spore::devices {
namespace {

constexpr std::size_t kMaxLabel = 63;  // RFC 1035, 2.3.4

tl::unexpected<Error> invalid(std::string_view what) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("writing the identity of a machine: {}", what));
}

int digit_value(char digit) {
  if (digit >= '0' && digit <= '9') {
    return digit - '0';
  }
  if (digit >= 'a' && digit <= 'f') {
    return digit - 'a' + 10;
  }
  if (digit >= 'A' && digit <= 'F') {
    return digit - 'A' + 10;
  }
  return -1;
}

Result<std::array<std::uint8_t, 16>> parse_id(const char* field, std::string_view text) {
  std::array<std::uint8_t, 16> id{};
  bool valid = text.size() == 2 * id.size();
  for (std::size_t i = 0; valid && i < id.size(); ++i) {
    const int high = digit_value(text[2 * i]);
    const int low = digit_value(text[2 * i + 1]);
    valid = high >= 0 && low >= 0;
    id[i] = static_cast<std::uint8_t>((high << 4 | low) & 0xff);
  }
  if (!valid) {
    return invalid(fmt::format("its {} \"{}\" is not 32 hexadecimal digits", field, text));
  }
  return id;
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// RFC 1123, 2.1: labels of letters, digits and inner hyphens.
bool is_hostname(std::string_view text) {
  std::size_t start = 0;
  while (true) {
    const std::size_t end = std::min(text.find('.', start), text.size());
    const std::string_view label = text.substr(start, end - start);
    const bool valid = !label.empty() && label.size() <= kMaxLabel &&
                       is_letter_or_digit(label.front()) && is_letter_or_digit(label.back()) &&
                       std::all_of(label.begin(), label.end(),
                                   [](char c) { return c == '-' || is_letter_or_digit(c); });
    if (!valid) {
      return false;
    }
    if (end == text.size()) {
      return true;
    }
    start = end + 1;
  }
}

template <std::size_t kSize>
Result<void> copy_text(const char* field, std::string_view text, std::array<char, kSize>& into) {
  if (text.size() >= kSize) {
    return invalid(
        fmt::format("its {} is {} bytes long; at most {} fit", field, text.size(), kSize - 1));
  }
  if (text.find('\0') != std::string_view::npos) {
    return invalid(fmt::format("its {} contains a NUL byte; leave it out", field));
  }
  std::copy(text.begin(), text.end(), into.begin());
  return {};
}

Result<void> copy_user(const std::map<std::string, std::string>& user, wire::GenerationPage& page) {
  SPORE_TRY(check_user_parameters(user));
  std::string json;
  try {
    json = nlohmann::json(user).dump();
  } catch (const nlohmann::json::exception&) {
    return invalid("its user parameters are not UTF-8; encode them (base64, for example)");
  }
  if (json.size() > page.user.size()) {
    return invalid(
        fmt::format("its user parameters are {} bytes as JSON; at most {} fit: put large "
                    "values into a file of the image",
                    json.size(), page.user.size()));
  }
  std::copy(json.begin(), json.end(), page.user.begin());
  page.user_length = static_cast<std::uint16_t>(json.size());
  return {};
}

Result<void> check_index(const char* what, std::uint32_t index, std::uint32_t count) {
  if (index >= count) {
    return invalid(fmt::format("it is {} {} of {}; indexes go from 0 to the number less 1", what,
                               index, count));
  }
  return {};
}

// Locally administered, unicast; otherwise the id's bytes, so that it differs wherever the id does.
std::array<std::uint8_t, 6> mac_of(const std::array<std::uint8_t, 16>& id) {
  std::array<std::uint8_t, 6> mac{};
  std::copy_n(id.begin(), mac.size(), mac.begin());
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xfcU) | 0x02U);
  return mac;
}

void write_clock(std::chrono::system_clock::time_point now, wire::GenerationPage& page) {
  const auto since = now.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const auto rest = std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds);
  page.wall_clock_seconds = static_cast<std::uint64_t>(seconds.count());
  page.wall_clock_nanoseconds = static_cast<std::uint32_t>(rest.count());
}

}  // namespace

// ---- the doorbell -----------------------------------------------------------------------------

void GenerationDevice::read(std::uint64_t offset, std::span<std::byte> data) {
  std::fill(data.begin(), data.end(), std::byte{0});
  std::uint32_t value = 0;
  switch (offset) {
    case wire::kDoorbellRegMagic:
      value = wire::kGenerationMagic;
      break;
    case wire::kDoorbellRegVersion:
      value = wire::kGenerationVersion;
      break;
    case wire::kDoorbellRegStatus:
      value = static_cast<std::uint32_t>(state_.number);
      break;
    default:
      break;
  }
  if (data.size() == sizeof(value)) {
    std::memcpy(data.data(), &value, sizeof(value));
  }
}

void GenerationDevice::write(std::uint64_t offset, std::span<const std::byte> data) {
  std::uint32_t value = 0;
  if (offset != wire::kDoorbellRegRing || data.size() != sizeof(value)) {
    return;
  }
  std::memcpy(&value, data.data(), sizeof(value));
  switch (static_cast<wire::DoorbellCommand>(value)) {
    case wire::DoorbellCommand::kCapture:
    case wire::DoorbellCommand::kPowerOff:
    case wire::DoorbellCommand::kReady:
      return doorbell_(static_cast<wire::DoorbellCommand>(value));
  }
  ++unknown_commands_;
}

// ---- the page ---------------------------------------------------------------------------------

Result<void> check_user_parameters(const std::map<std::string, std::string>& user) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : user) {
    bytes += key.size() + value.size();
  }
  if (bytes > kMaxForkUserBytes) {
    return invalid(
        fmt::format("its user parameters are {} bytes; at most {} fit: put large values into a "
                    "file of the image",
                    bytes, kMaxForkUserBytes));
  }
  return {};
}

Result<wire::GenerationPage> make_generation_page(const Generation& generation,
                                                  const GenerationSources& sources) {
  const ForkParameters& parameters = generation.parameters;
  wire::GenerationPage page;
  page.number = generation.number;
  SPORE_ASSIGN(page.id, parse_id("id", generation.id));
  if (!generation.parent_id.empty()) {
    SPORE_ASSIGN(page.parent_id, parse_id("parent id", generation.parent_id));
  }
  SPORE_TRY(check_index("child", parameters.child_index, parameters.child_count));
  SPORE_TRY(check_index("shard", parameters.shard_index, parameters.shard_count));
  page.child_index = parameters.child_index;
  page.child_count = parameters.child_count;
  page.shard_index = parameters.shard_index;
  page.shard_count = parameters.shard_count;
  const std::string name =
      parameters.name.empty() ? fmt::format("{}", parameters.child_index) : parameters.name;
  const std::string hostname = parameters.hostname.empty()
                                   ? fmt::format("spore-{}", parameters.child_index)
                                   : parameters.hostname;
  SPORE_TRY(copy_text("name", name, page.name));
  if (!is_hostname(hostname)) {
    return invalid(
        fmt::format("\"{}\" is no hostname: use letters, digits and hyphens, with dots "
                    "between (RFC 1123)",
                    hostname));
  }
  SPORE_TRY(copy_text("hostname", hostname, page.hostname));
  SPORE_TRY(copy_user(parameters.user, page));
  page.mac = mac_of(page.id);
  write_clock(sources.now, page);
  sources.entropy(std::as_writable_bytes(std::span(page.entropy)));
  return page;
}

std::string make_generation_id(const std::function<void(std::span<std::byte>)>& entropy) {
  std::array<std::uint8_t, 16> id{};
  entropy(std::as_writable_bytes(std::span(id)));
  if (std::all_of(id.begin(), id.end(), [](std::uint8_t byte) { return byte == 0; })) {
    id.back() = 1;  // all zero means "no parent" in a page
  }
  return base::to_hex({reinterpret_cast<const char*>(id.data()), id.size()});
}

}  // namespace spore::devices
