#include "case_format.h"

#include <fmt/format.h>

#include <cmath>

namespace spore::gtest_runner {
namespace {

constexpr double kMostSeconds = 1e9;  // what a guest says may be anything
constexpr std::string_view kXmlSpace = " \t\r\n";

}  // namespace

std::string text_of(pugi::xml_node element) {
  const std::string_view text = element.child_value();
  const auto begin = text.find_first_not_of(kXmlSpace);
  if (begin == std::string_view::npos) {
    return {};
  }
  return std::string(text.substr(begin, text.find_last_not_of(kXmlSpace) - begin + 1));
}

std::string place_of(const ListedTest& test) {
  return test.file.empty() ? "unknown file" : fmt::format("{}:{}", test.file, test.line);
}

std::string place_of(pugi::xml_node element, const ListedTest& test) {
  const std::string_view file = element.attribute("filename").value();
  return file.empty() ? place_of(test)
                      : fmt::format("{}:{}", file, element.attribute("line").value());
}

std::string with_line_end(std::string text) {
  if (!text.empty() && text.back() != '\n') {
    text += '\n';
  }
  return text;
}

bool is_true(pugi::xml_attribute attribute) {
  return std::string_view(attribute.value()) == "true";
}

std::int64_t milliseconds(pugi::xml_attribute seconds) {
  const double value = seconds.as_double();
  return value > 0 && value < kMostSeconds ? std::llround(value * 1000) : 0;
}

}  // namespace spore::gtest_runner
