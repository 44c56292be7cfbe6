#include "test_list.h"

#include <algorithm>
#include <utility>

namespace spore::gtest_runner {
namespace {

constexpr std::string_view kTypeLabel = "  # TypeParam = ";
constexpr std::string_view kValueLabel = "  # GetParam() = ";
constexpr std::string_view kDisabledPrefix = "DISABLED_";

std::pair<std::string_view, std::string_view> split_label(std::string_view line,
                                                          std::string_view label) {
  const auto at = line.find(label);
  if (at == std::string_view::npos) {
    return {line, {}};
  }
  return {line.substr(0, at), line.substr(at + label.size())};
}

bool is_suite_line(std::string_view line) {
  const auto name = split_label(line, kTypeLabel).first;
  return name.size() > 1 && name.back() == '.' && name.find(' ') == std::string_view::npos;
}

bool is_test_line(std::string_view line) {
  return line.size() > 2 && line.starts_with("  ") && line[2] != ' ';
}

// GoogleTest matches "DISABLED_*" and "*/DISABLED_*" against the suite and the test.
bool is_disabled(std::string_view name) {
  return name.starts_with(kDisabledPrefix) || name.find("/DISABLED_") != std::string_view::npos;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      break;
    }
    text.remove_prefix(end + 1);
  }
  return lines;
}

// Characters that mean something in a filter are matched by '?'.
std::string as_pattern(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ':' || c == '-' || c == '*'; }, '?');
  return name;
}

bool matches_any(std::string_view name, std::string_view patterns) {
  for (;;) {
    const auto colon = patterns.find(':');
    if (matches_pattern(name, patterns.substr(0, colon))) {
      return true;
    }
    if (colon == std::string_view::npos) {
      return false;
    }
    patterns.remove_prefix(colon + 1);
  }
}

}  // namespace

bool matches_pattern(std::string_view name, std::string_view pattern) {
  std::size_t n = 0;
  std::size_t p = 0;
  std::size_t star = std::string_view::npos;  // the last one, and what of the name is behind it
  std::size_t behind = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      behind = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++behind;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::string ListedTest::comment() const {
  std::string text;
  if (!type_param.empty()) {
    text = ", where TypeParam = " + type_param;
  }
  if (!value_param.empty()) {
    text += (text.empty() ? ", where GetParam() = " : " and GetParam() = ") + value_param;
  }
  return text;
}

TestList parse_test_list(std::string_view text) {
  TestList list;
  const auto lines = split_lines(text);
  std::string suite;
  std::string type_param;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    const bool next_is_test = i + 1 < lines.size() && is_test_line(lines[i + 1]);
    if (is_suite_line(line) && next_is_test) {
      const auto [name, type] = split_label(line, kTypeLabel);
      suite = name.substr(0, name.size() - 1);
      type_param = type;
    } else if (!suite.empty() && is_test_line(line)) {
      const auto [name, value] = split_label(line.substr(2), kValueLabel);
      list.tests.push_back({.suite = suite,
                            .name = std::string(name),
                            .type_param = type_param,
                            .value_param = std::string(value),
                            .disabled = is_disabled(suite) || is_disabled(name)});
    } else {
      suite.clear();
    }
  }
  return list;
}

bool matches_filter(std::string_view full_name, std::string_view filter) {
  const auto dash = filter.find('-');
  const std::string_view taken = filter.substr(0, dash);
  if (dash == std::string_view::npos) {
    return matches_any(full_name, taken);
  }
  return matches_any(full_name, taken.empty() ? "*" : taken) &&
         !matches_any(full_name, filter.substr(dash + 1));
}

TestList filtered(TestList list, std::string_view filter) {
  std::erase_if(list.tests, [filter](const ListedTest& test) {
    return !matches_filter(test.full_name(), filter);
  });
  return list;
}

Selection select_tests(const TestList& list, bool also_run_disabled, int shard_index,
                       int total_shards) {
  Selection selection;
  int runnable = 0;
  for (std::size_t i = 0; i < list.tests.size(); ++i) {
    const bool runs = also_run_disabled || !list.tests[i].disabled;
    if (runnable % total_shards == shard_index) {
      selection.reported.push_back(i);
      if (runs) {
        selection.to_run.push_back(i);
      }
    }
    runnable += runs ? 1 : 0;
  }
  return selection;
}

std::vector<std::vector<std::size_t>> deal(const std::vector<std::size_t>& tests,
                                           std::size_t count) {
  std::vector<std::vector<std::size_t>> hands(count);
  for (std::size_t i = 0; i < tests.size(); ++i) {
    hands[i % count].push_back(tests[i]);
  }
  return hands;
}

std::size_t turn_size(std::size_t left, std::size_t workers, std::size_t least) {
  const std::size_t part = (left + workers - 1) / workers;
  return std::min(left, std::max(left / (2 * workers) + 1, std::min(least, part)));
}

std::string suites_with_set_up(std::string_view errors) {
  constexpr std::string_view kTag = "spore-suite: ";
  std::string suites;
  for (const std::string_view line : split_lines(errors)) {
    if (line.starts_with(kTag)) {
      suites += line.substr(kTag.size());
      suites += '\n';
    }
  }
  return suites;
}

std::string suite_filter(const std::string& suite) {
  return as_pattern(suite) + ".*";
}

std::size_t make_filter(const TestList& list, const std::vector<std::size_t>& tests,
                        std::size_t limit, std::string& filter) {
  filter.clear();
  std::size_t taken = 0;
  for (const std::size_t test : tests) {
    const std::string pattern = as_pattern(list.tests[test].full_name());
    if (taken > 0 && filter.size() + 1 + pattern.size() > limit) {
      break;
    }
    filter += taken > 0 ? ":" : "";
    filter += pattern;
    ++taken;
  }
  return taken;
}

}  // namespace spore::gtest_runner
