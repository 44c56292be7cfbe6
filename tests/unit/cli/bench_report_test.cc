// What `spore bench` makes of its measurements: the fit, and the three ways to show them.
#include "cli/bench_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

namespace spore::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<ResetSample> samples_on(double fixed, double per_page, double noise = 0) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> factor(1 - noise, 1 + noise);
  std::vector<ResetSample> samples;
  for (const double pages : {40, 300, 1100, 4100, 16500}) {
    for (int i = 0; i < 20; ++i) {
      samples.push_back({pages, (fixed + per_page * pages) * factor(random)});
    }
  }
  return samples;
}

BenchReport example() {
  return {.engine = "nest",
          .rows = {{"boot to agent", 1234.5, "ms", "512 MiB", ""},
                   {"reset", 321.0, "us", "median of 30", ""},
                   {"reset", 45.67, "us", "", "memory"},
                   {"python", std::nullopt, "", "there is no python3", ""}},
          .reset = {120.0, 0.5},
          .samples = {{10, 125}, {1000, 620}}};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  return lines;
}

// Every element that opens is closed in order, and no bare & or < is left in its text.
bool is_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  bool had_root = false;
  for (std::size_t at = 0; at < svg.size();) {
    if (svg[at] == '&') {
      const auto end = svg.find(';', at);
      const std::string name = svg.substr(at + 1, end - at - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot") {
        return false;
      }
    }
    if (svg[at] != '<') {
      ++at;
      continue;
    }
    const auto end = svg.find('>', at);
    if (end == std::string::npos) {
      return false;
    }
    const std::string tag = svg.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.empty() || std::count(tag.begin(), tag.end(), '"') % 2 != 0 ||
        tag.find('<') != std::string::npos) {
      return false;
    }
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) {
        return false;
      }
      open.pop_back();
    } else if (tag.back() != '/') {
      if (open.empty() && had_root) {
        return false;
      }
      had_root = true;
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  return had_root && open.empty();
}

TEST(Median, IsTheMiddle) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 4}), 4);
  EXPECT_EQ(median({9, 1, 4, 2}), 3);
}

TEST(FitResetCost, FindsAnExactLine) {
  const auto cost = fit_reset_cost(samples_on(150, 0.4));
  ASSERT_TRUE(cost);
  EXPECT_NEAR(cost->fixed_us, 150, 1e-6);
  EXPECT_NEAR(cost->per_page_us, 0.4, 1e-9);
}

TEST(FitResetCost, FindsALineInNoise) {
  const auto cost = fit_reset_cost(samples_on(150, 0.4, 0.1));
  ASSERT_TRUE(cost);
  EXPECT_NEAR(cost->fixed_us, 150, 15);
  EXPECT_NEAR(cost->per_page_us, 0.4, 0.04);
}

TEST(FitResetCost, LetsNoLargeOutlierDecideAboutTheFixedPart) {
  auto samples = samples_on(150, 0.4);
  samples.push_back({16500, 40'000});
  const auto cost = fit_reset_cost(samples);
  ASSERT_TRUE(cost);
  EXPECT_NEAR(cost->fixed_us, 150, 15);
}

TEST(FitResetCost, KnowsWhenThereIsNoLine) {
  EXPECT_FALSE(fit_reset_cost({}));
  EXPECT_FALSE(fit_reset_cost({{100, 5}}));
  EXPECT_FALSE(fit_reset_cost({{100, 5}, {100, 6}, {100, 7}}));
  EXPECT_FALSE(fit_reset_cost({{100, 5}, {std::nan(""), 6}}));
}

TEST(FitResetCost, TakesResetsThatCostNothing) {
  const auto cost = fit_reset_cost({{0, 0}, {10, 0}});
  ASSERT_TRUE(cost);
  EXPECT_EQ(cost->fixed_us, 0);
  EXPECT_EQ(cost->per_page_us, 0);
}

TEST(RenderTable, AlignsItsColumns) {
  const auto lines = lines_of(render_table(example()));
  EXPECT_EQ(lines, (std::vector<std::string>{
                       "boot to agent  1234 ms  512 MiB", "reset           321 us  median of 30",
                       "  memory       45.7 us", "python            -     there is no python3"}));
  EXPECT_EQ(render_table({}), "");
}

TEST(RenderJson, HoldsEverything) {
  const auto object = nlohmann::json::parse(render_json(example()));
  EXPECT_EQ(object["engine"], "nest");
  ASSERT_EQ(object["rows"].size(), 3U);
  EXPECT_EQ(object["rows"][0],
            (nlohmann::json{{"name", "boot to agent"}, {"value", 1234.5}, {"unit", "ms"}}));
  EXPECT_EQ(object["rows"][2]["name"], "reset: memory");
  EXPECT_EQ(object["skipped"],
            nlohmann::json::parse(R"([{"name": "python", "why": "there is no python3"}])"));
  EXPECT_EQ(object["reset"], nlohmann::json::parse(R"({"fixed_us": 120.0, "per_page_us": 0.5,
                                                       "samples": [[10, 125], [1000, 620]]})"));
}

TEST(RenderJson, SurvivesBytesThatAreNoText) {
  BenchReport report = example();
  report.rows.back().note = "no \xff here";
  EXPECT_TRUE(nlohmann::json::accept(render_json(report)));
}

TEST(RenderSvg, IsAWellFormedChart) {
  const std::string svg = render_svg(example());
  EXPECT_TRUE(is_well_formed(svg)) << svg;
  EXPECT_THAT(svg, HasSubstr("What a reset costs (nest)"));
  EXPECT_THAT(svg, HasSubstr("120 \u00b5s + 0.500 \u00b5s per dirty page"));
  EXPECT_THAT(svg, HasSubstr("dirty pages (4 KiB each)"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#ffffff\""));
  std::size_t points = 0;
  for (auto at = svg.find("<circle"); at != svg.npos; at = svg.find("<circle", at + 1)) {
    ++points;
  }
  EXPECT_EQ(points, 2U);
}

TEST(RenderSvg, StaysWellFormedWithoutSamplesAndWithOddNames) {
  BenchReport report;
  report.engine = "<a & \"b\">";
  const std::string svg = render_svg(report);
  EXPECT_TRUE(is_well_formed(svg)) << svg;
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace spore::cli
