#include "cli/run_arguments.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "cli/process_io.h"

namespace spore::cli {
namespace {

namespace fs = std::filesystem;

struct Quantity {
  std::uint64_t number = 0;
  std::string_view unit;
};

std::optional<Quantity> parse_quantity(std::string_view word) {
  Quantity quantity;
  const auto [rest, error] =
      std::from_chars(word.data(), word.data() + word.size(), quantity.number);
  if (error != std::errc() || quantity.number == 0 || quantity.number > 1'000'000'000) {
    return std::nullopt;
  }
  quantity.unit = word.substr(static_cast<std::size_t>(rest - word.data()));
  return quantity;
}

}  // namespace

Result<std::uint64_t> parse_memory(std::string_view word) {
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> kUnits = {
      {{"M", kMiB},
       {"MB", kMiB},
       {"MiB", kMiB},
       {"G", 1024 * kMiB},
       {"GB", 1024 * kMiB},
       {"GiB", 1024 * kMiB}}};
  if (const auto quantity = parse_quantity(word)) {
    for (const auto& [unit, bytes] : kUnits) {
      if (quantity->unit == unit) {
        return quantity->number * bytes;
      }
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("reading --memory {}: say a size such as 512M or 2G", word));
}

Result<Milliseconds> parse_duration(std::string_view word, std::string_view option) {
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 5> kUnits = {
      {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60'000}, {"h", 3'600'000}}};
  if (const auto quantity = parse_quantity(word)) {
    for (const auto& [unit, milliseconds] : kUnits) {
      if (quantity->unit == unit) {
        return Milliseconds{static_cast<std::int64_t>(quantity->number) * milliseconds};
      }
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("reading {} {}: say a time such as 30s, 500ms or 5m", option, word));
}

Result<std::map<std::string, std::string>> parse_environment(
    const std::vector<std::string>& words) {
  std::map<std::string, std::string> environment;
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (name.empty()) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("reading --env {}: say NAME=VALUE, or NAME", word));
    }
    if (equals != std::string::npos) {
      environment[name] = word.substr(equals + 1);
    } else if (const char* value = std::getenv(name.c_str()); value != nullptr) {
      environment[name] = value;
    }
  }
  return environment;
}

Result<ExecRequest> exec_request(const CommandWords& words) {
  ExecRequest request;
  request.argv = words.argv;
  SPORE_ASSIGN(request.env, parse_environment(words.env));
  request.workdir = words.workdir;
  request.user = words.user;
  request.terminal = words.terminal;
  if (words.terminal) {
    const TerminalSize size = terminal_size().value_or(TerminalSize{});
    request.rows = size.rows;
    request.columns = size.columns;
    if (const char* term = std::getenv("TERM"); term != nullptr) {
      request.env.try_emplace("TERM", term);
    }
  }
  return request;
}

Result<ImageMount> parse_mount(std::string_view word) {
  const auto colon = word.rfind(':');
  const bool elsewhere =
      colon != std::string_view::npos && colon + 1 < word.size() && word[colon + 1] == '/';
  std::error_code error;
  const fs::path source = fs::absolute(word.substr(0, elsewhere ? colon : word.npos), error);
  if (error || !fs::exists(source, error)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("reading --mount {}: there is no {}", word, source.string()));
  }
  const std::string normal = source.lexically_normal().string();
  return ImageMount{normal, elsewhere ? std::string(word.substr(colon + 1)) : normal};
}

}  // namespace spore::cli
