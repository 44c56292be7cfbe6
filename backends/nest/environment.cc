#include "nest/environment.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace spore::nest {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kSmallestMemory = kGiB;
constexpr std::uint64_t kLargestMemory = 1024 * kGiB;
constexpr std::uint64_t kDefaultIdleSeconds = 600;
constexpr std::uint64_t kLongestIdleSeconds = 365UL * 24 * 3600;

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    return std::nullopt;
  }
  return value;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > kLargestMemory) {
    return std::nullopt;
  }
  return number;
}

Result<std::string> check_program(const std::filesystem::path& path, std::string_view why) {
  if (access(path.c_str(), X_OK) != 0) {
    return fail(ErrorCode::kNotFound,
                fmt::format("looking for {}: {} is not there or cannot be executed; build or "
                            "install all of Spore, or set SPORE_BIN to its `spore` program",
                            why, path.string()));
  }
  return path.string();
}

}  // namespace

Result<std::uint64_t> parse_memory(std::string_view text, std::string_view name) {
  std::uint64_t unit = kMiB;
  std::string_view digits = text;
  if (!digits.empty() && (digits.back() == 'G' || digits.back() == 'M')) {
    unit = digits.back() == 'G' ? kGiB : kMiB;
    digits.remove_suffix(1);
  }
  const auto number = parse_number(digits);
  if (!number || *number < kSmallestMemory / unit || *number > kLargestMemory / unit) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("reading {}: \"{}\" is not an amount of memory for the nest; say 4G, "
                            "or a number of MiB, at least 1024",
                            name, text));
  }
  return *number * unit;
}

Result<std::uint64_t> nest_memory() {
  if (const auto given = variable("SPORE_NEST_MEMORY")) {
    return parse_memory(*given, "SPORE_NEST_MEMORY");
  }
  struct sysinfo info {};
  sysinfo(&info);
  const std::uint64_t total = static_cast<std::uint64_t>(info.totalram) * info.mem_unit;
  return std::clamp(total / 2, 2 * kGiB, 16 * kGiB) / kMiB * kMiB;
}

Result<std::uint64_t> nest_idle_seconds() {
  const auto given = variable("SPORE_NEST_IDLE");
  if (!given) {
    return kDefaultIdleSeconds;
  }
  const auto seconds = parse_number(*given);
  if (!seconds || *seconds == 0 || *seconds > kLongestIdleSeconds) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("reading SPORE_NEST_IDLE: \"{}\" is not a number of seconds, 1 to {}",
                            *given, kLongestIdleSeconds));
  }
  return *seconds;
}

Result<std::string> spore_program() {
  if (const auto given = variable("SPORE_BIN")) {
    return check_program(std::filesystem::absolute(*given), "the spore program in SPORE_BIN");
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) {
    return fail(Error::from_errno(error.value(), "reading /proc/self/exe"));
  }
  return self.filename() == "spore" ? self.string()
                                    : check_program(self.parent_path() / "spore", "`spore`");
}

Result<std::string> helper_program(std::string_view name) {
  SPORE_ASSIGN(const std::filesystem::path program, spore_program());
  return check_program(program.parent_path().parent_path() / "libexec" / "spore" / name, name);
}

}  // namespace spore::nest
