#include "gtest_flags.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <fstream>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kPrefix = "--gtest_";
constexpr int kMaxFlagFileDepth = 8;

// Variables that change how the program runs, not what the runner prints or selects.
constexpr std::array kHandedOn = {
    "GTEST_BREAK_ON_FAILURE",
    "GTEST_CATCH_EXCEPTIONS",
    "GTEST_DEATH_TEST_STYLE",
    "GTEST_DEATH_TEST_USE_FORK",
    "GTEST_FAIL_FAST",
    "GTEST_PRINT_UTF8",
    "GTEST_STACK_TRACE_DEPTH",
    "GTEST_THROW_ON_FAILURE",
    "TESTBRIDGE_TEST_RUNNER_FAIL_FAST",
    "ASAN_OPTIONS",
    "LSAN_OPTIONS",
    "MSAN_OPTIONS",
    "TSAN_OPTIONS",
    "UBSAN_OPTIONS",
};

Result<int> parse_integer(std::string_view text, std::string_view what) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is to be a whole number, but it is \"{}\"", what, text));
  }
  return value;
}

// GoogleTest's rule for a flag: everything is true but a value that begins with 0, f or F.
bool flag_is_true(const std::optional<std::string>& value) {
  return !value || value->empty() ||
         !((*value)[0] == '0' || (*value)[0] == 'f' || (*value)[0] == 'F');
}

class Parser {
 public:
  explicit Parser(GtestFlags& flags) : flags_(flags) {}

  Result<void> argument(const std::string& text, int depth) {
    if (text == "--help") {
      flags_.help = true;
      flags_.rest.push_back(text);
      return {};
    }
    if (!std::string_view(text).starts_with(kPrefix)) {
      flags_.rest.push_back(text);
      return {};
    }
    const auto equals = text.find('=');
    const std::string name = text.substr(
        kPrefix.size(), equals == std::string::npos ? std::string::npos : equals - kPrefix.size());
    std::optional<std::string> value;
    if (equals != std::string::npos) {
      value = text.substr(equals + 1);
    }
    if (name == "flagfile" && value) {
      return flag_file(*value, depth);
    }
    if (name == "fail_fast") {
      flags_.fail_fast = flag_is_true(value);
    }
    SPORE_ASSIGN(const bool known, flag(name, value));
    if (!known) {
      flags_.rest.push_back(text);
    }
    return {};
  }

 private:
  Result<bool> flag(const std::string& name, const std::optional<std::string>& value) {
    if (bool* boolean = boolean_flag(name)) {
      *boolean = flag_is_true(value);
      return true;
    }
    if (!value) {
      return false;  // GoogleTest answers it with its help text
    }
    if (std::string* text = text_flag(name)) {
      *text = *value;
      return true;
    }
    if (int* number = name == "repeat"        ? &flags_.repeat
                      : name == "random_seed" ? &flags_.random_seed
                                              : nullptr) {
      SPORE_ASSIGN(*number, parse_integer(*value, fmt::format("--gtest_{}", name)));
      return true;
    }
    return false;
  }

  bool* boolean_flag(std::string_view name) {
    if (name == "brief") return &flags_.brief;
    if (name == "print_time") return &flags_.print_time;
    if (name == "list_tests") return &flags_.list_tests;
    if (name == "shuffle") return &flags_.shuffle;
    if (name == "also_run_disabled_tests") return &flags_.also_run_disabled_tests;
    return nullptr;
  }

  std::string* text_flag(std::string_view name) {
    if (name == "filter") return &flags_.filter;
    if (name == "output") return &flags_.output;
    if (name == "color") return &flags_.color;
    return nullptr;
  }

  // The file is on the host, so it is read here and its flags take the place of the flag.
  Result<void> flag_file(const std::string& path, int depth) {
    if (depth >= kMaxFlagFileDepth) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("reading flags from {}: flag files name each other more than {} deep",
                              path, kMaxFlagFileDepth));
    }
    std::ifstream file(path);
    if (!file) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("reading flags from {}: the file cannot be opened; check "
                              "--gtest_flagfile",
                              path));
    }
    for (std::string line; std::getline(file, line);) {
      if (!line.empty()) {
        SPORE_TRY(argument(line, depth + 1));
      }
    }
    return {};
  }

  GtestFlags& flags_;
};

bool variable_is_true(const std::string& value) {
  return value != "0";
}

Result<void> apply_environment(const Lookup& getenv, GtestFlags& flags) {
  const auto text = [&](const char* name, std::string& field) {
    if (const auto value = getenv(name)) {
      field = *value;
    }
  };
  const auto boolean = [&](const char* name, bool& field) {
    if (const auto value = getenv(name)) {
      field = variable_is_true(*value);
    }
  };
  text("TESTBRIDGE_TEST_ONLY", flags.filter);
  text("GTEST_FILTER", flags.filter);
  if (const auto path = getenv("XML_OUTPUT_FILE")) {
    flags.output = "xml:" + *path;
  }
  text("GTEST_OUTPUT", flags.output);
  text("GTEST_COLOR", flags.color);
  boolean("GTEST_BRIEF", flags.brief);
  boolean("GTEST_PRINT_TIME", flags.print_time);
  boolean("GTEST_SHUFFLE", flags.shuffle);
  boolean("GTEST_ALSO_RUN_DISABLED_TESTS", flags.also_run_disabled_tests);
  flags.fail_fast = getenv("TESTBRIDGE_TEST_RUNNER_FAIL_FAST") == "1";
  boolean("GTEST_FAIL_FAST", flags.fail_fast);
  if (const auto value = getenv("GTEST_REPEAT")) {
    SPORE_ASSIGN(flags.repeat, parse_integer(*value, "GTEST_REPEAT"));
  }
  if (const auto value = getenv("GTEST_RANDOM_SEED")) {
    SPORE_ASSIGN(flags.random_seed, parse_integer(*value, "GTEST_RANDOM_SEED"));
  }
  for (const char* name : kHandedOn) {
    if (const auto value = getenv(name)) {
      flags.env[name] = *value;
    }
  }
  return {};
}

}  // namespace

Result<GtestFlags> parse_gtest_flags(const std::vector<std::string>& arguments,
                                     const Lookup& getenv) {
  GtestFlags flags;
  SPORE_TRY(apply_environment(getenv, flags));
  Parser parser(flags);
  for (const std::string& argument : arguments) {
    SPORE_TRY(parser.argument(argument, 0));
  }
  return flags;
}

Result<OuterShard> parse_outer_shard(const Lookup& getenv) {
  // A program that Bazel runs without its wrapper finds only Bazel's names.
  const bool bazel = !getenv("GTEST_TOTAL_SHARDS") && !getenv("GTEST_SHARD_INDEX");
  const std::string prefix = bazel ? "TEST_" : "GTEST_";
  const std::string total_name = prefix + "TOTAL_SHARDS";
  const std::string index_name = prefix + "SHARD_INDEX";
  OuterShard shard;
  shard.premature_exit_file = getenv("TEST_PREMATURE_EXIT_FILE").value_or("");
  shard.status_file =
      getenv("GTEST_SHARD_STATUS_FILE").value_or(getenv("TEST_SHARD_STATUS_FILE").value_or(""));
  const auto total = getenv(total_name);
  const auto index = getenv(index_name);
  if (!total && !index) {
    return shard;
  }
  if (!total || !index) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is set in the environment, but {} is not; set both or none",
                            total ? total_name : index_name, total ? index_name : total_name));
  }
  SPORE_ASSIGN(shard.total, parse_integer(*total, total_name));
  SPORE_ASSIGN(shard.index, parse_integer(*index, index_name));
  if (shard.index < 0 || shard.index >= shard.total) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}={} with {}={} in the environment: the index is to be at least 0 "
                            "and less than the total",
                            index_name, shard.index, total_name, shard.total));
  }
  return shard;
}

}  // namespace spore::gtest_runner
