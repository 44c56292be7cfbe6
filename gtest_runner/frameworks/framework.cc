#include "framework.h"

#include <array>
#include <sstream>
#include <utility>

#include "catch2.h"
#include "doctest.h"
#include "googletest.h"

namespace spore::gtest_runner {
namespace {

constexpr std::array<std::pair<std::string_view, FrameworkKind>, 3> kFrameworkNames = {
    {{"gtest", FrameworkKind::kGoogleTest},
     {"catch2", FrameworkKind::kCatch2},
     {"doctest", FrameworkKind::kDoctest}}};

// Lines of a help that only the framework's own has; a test's text in the middle of a line is none.
constexpr std::array<std::pair<std::string_view, FrameworkKind>, 4> kHelpLines = {
    {{"This program contains tests written using Google Test", FrameworkKind::kGoogleTest},
     {"Catch v2.", FrameworkKind::kCatch2},
     {"Catch2 v", FrameworkKind::kCatch2},
     {"[doctest] doctest version is ", FrameworkKind::kDoctest}}};

}  // namespace

std::string_view to_string(FrameworkKind kind) noexcept {
  switch (kind) {
    case FrameworkKind::kCatch2:
      return "Catch2";
    case FrameworkKind::kDoctest:
      return "doctest";
    default:
      return "GoogleTest";
  }
}

std::string_view name_of(FrameworkKind kind) noexcept {
  for (const auto& [name, known] : kFrameworkNames) {
    if (kind == known) {
      return name;
    }
  }
  return {};
}

std::optional<FrameworkKind> framework_named(std::string_view name) {
  for (const auto& [known, kind] : kFrameworkNames) {
    if (name == known) {
      return kind;
    }
  }
  return std::nullopt;
}

std::optional<FrameworkKind> framework_of_help(std::string_view help) {
  std::optional<FrameworkKind> found;
  std::istringstream lines{std::string(help)};
  for (std::string line; std::getline(lines, line);) {
    for (const auto& [begin, kind] : kHelpLines) {
      if (!line.starts_with(begin)) {
        continue;
      }
      if (found && *found != kind) {
        return std::nullopt;
      }
      found = kind;
    }
  }
  return found;
}

Result<std::unique_ptr<Framework>> make_framework(FrameworkKind kind, const GtestFlags& flags,
                                                  const std::optional<OutputFile>& report,
                                                  std::string_view help) {
  switch (kind) {
    case FrameworkKind::kCatch2:
      return make_catch2(flags.rest, help);
    case FrameworkKind::kDoctest:
      return make_doctest(flags.rest);
    default:
      return make_googletest(flags, report);
  }
}

}  // namespace spore::gtest_runner
