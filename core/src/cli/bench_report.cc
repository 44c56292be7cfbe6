#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

namespace spore::cli {
namespace {

constexpr std::size_t kIndent = 2;
constexpr double kSmallestCost = 1;  // microseconds, the resolution of the timings

// Four digits say more than such measurements know.
std::string number_text(double value) {
  const double size = std::abs(value);
  const int decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return fmt::format("{:.{}f}", value, decimals);
}

std::string value_text(const BenchRow& row) {
  return row.value ? number_text(*row.value) : "-";
}

std::string label_text(const BenchRow& row) {
  return row.phase.empty() ? row.name : std::string(kIndent, ' ') + row.phase;
}

std::string json_name(const BenchRow& row) {
  return row.phase.empty() ? row.name : row.name + ": " + row.phase;
}

// ---- the fit
// -----------------------------------------------------------------------------------------

constexpr int kFitRounds = 4;

double weight_of(double us) {
  return 1 / std::pow(std::max(us, kSmallestCost), 2);
}

std::optional<ResetCost> fit_weighted(const std::vector<ResetSample>& samples,
                                      const std::vector<double>& weights) {
  double sum = 0;
  double pages = 0;
  double us = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    sum += weights[i];
    pages += weights[i] * samples[i].pages;
    us += weights[i] * samples[i].us;
  }
  const auto apart = [&](const ResetSample& one) { return one.pages != samples.front().pages; };
  if (std::none_of(samples.begin(), samples.end(), apart)) {
    return std::nullopt;
  }
  pages /= sum;
  us /= sum;
  double squares = 0;
  double products = 0;
  // From the means, where large numbers do not cancel.
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double distance = samples[i].pages - pages;
    squares += weights[i] * distance * distance;
    products += weights[i] * distance * (samples[i].us - us);
  }
  const double slope = products / squares;
  if (!(squares > 0) || !std::isfinite(slope)) {
    return std::nullopt;
  }
  return ResetCost{us - slope * pages, slope};
}

// ---- the chart
// ----------------------------------------------------------------------------------------

constexpr double kWidth = 720;
constexpr double kHeight = 440;
constexpr double kLeft = 80;
constexpr double kRight = 690;
constexpr double kTop = 70;
constexpr double kBottom = 380;
constexpr int kMostTicks = 6;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// From 0 to `end` in round steps, so that `largest` lies inside.
struct Axis {
  double step = 1;
  double end = 1;
};

Axis axis_for(double largest) {
  const double wanted = std::max(largest, 1.0) / kMostTicks;
  const double power = std::pow(10, std::floor(std::log10(wanted)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= wanted) {
      step = factor * power;
      break;
    }
  }
  return {step, step * std::ceil(std::max(largest, 1.0) / step)};
}

struct Plane {
  Axis pages;
  Axis us;
  [[nodiscard]] double x(double value) const {
    return kLeft + value / pages.end * (kRight - kLeft);
  }
  [[nodiscard]] double y(double value) const { return kBottom - value / us.end * (kBottom - kTop); }
};

Plane plane_for(const BenchReport& report) {
  double pages = 0;
  double us = 0;
  for (const ResetSample& sample : report.samples) {
    pages = std::max(pages, sample.pages);
    us = std::max(us, sample.us);
  }
  us = std::max(us, report.reset.fixed_us + report.reset.per_page_us * pages);
  return {axis_for(pages), axis_for(us)};
}

std::string axes_svg(const Plane& plane) {
  std::string svg;
  const auto ticks = [](const Axis& axis) { return std::lround(axis.end / axis.step); };
  const auto tick_text = [](double value, const Axis& axis) {
    return fmt::format("{:.{}f}", value, axis.step < 1 ? 1 : 0);
  };
  for (long i = 0; i <= ticks(plane.us); ++i) {
    const double value = plane.us.step * static_cast<double>(i);
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"{4}\"/>\n"
        "<text x=\"{5:.1f}\" y=\"{6:.1f}\" text-anchor=\"end\">{3}</text>\n",
        kLeft, kRight, plane.y(value), tick_text(value, plane.us), i == 0 ? "#333333" : "#dddddd",
        kLeft - 8, plane.y(value) + 4);
  }
  for (long i = 0; i <= ticks(plane.pages); ++i) {
    const double value = plane.pages.step * static_cast<double>(i);
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#333333\"/>\n"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4}</text>\n",
        plane.x(value), kBottom, kBottom + 5, kBottom + 20, tick_text(value, plane.pages));
  }
  svg += fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#333333\"/>\n"
      "<text x=\"{3:.1f}\" y=\"{4:.1f}\" text-anchor=\"middle\">dirty pages (4 KiB each)</text>\n"
      "<text transform=\"translate(20 {5:.1f}) rotate(-90)\" text-anchor=\"middle\">"
      "reset until its vCPUs may run, \u00b5s</text>\n",
      kLeft, kTop, kBottom, (kLeft + kRight) / 2, kBottom + 45, (kTop + kBottom) / 2);
  return svg;
}

// The fitted line, from where it leaves the axes.
std::string line_svg(const Plane& plane, const ResetCost& cost) {
  const double start = cost.fixed_us < 0 && cost.per_page_us > 0
                           ? std::min(-cost.fixed_us / cost.per_page_us, plane.pages.end)
                           : 0;
  const auto at = [&](double pages) {
    return std::clamp(cost.fixed_us + cost.per_page_us * pages, 0.0, plane.us.end);
  };
  const double end =
      cost.per_page_us > 0
          ? std::clamp((plane.us.end - cost.fixed_us) / cost.per_page_us, start, plane.pages.end)
          : plane.pages.end;
  return fmt::format(
      "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#c0392b\" "
      "stroke-width=\"2\"/>\n",
      plane.x(start), plane.y(at(start)), plane.x(end), plane.y(at(end)));
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<ResetCost> fit_reset_cost(const std::vector<ResetSample>& samples) {
  std::vector<double> weights(samples.size());
  std::transform(samples.begin(), samples.end(), weights.begin(),
                 [](const ResetSample& sample) { return weight_of(sample.us); });
  std::optional<ResetCost> cost = fit_weighted(samples, weights);
  // Weights of the samples' own noise favour the cheap ones: those of the fit do not.
  for (int round = 0; cost && round < kFitRounds; ++round) {
    for (std::size_t i = 0; i < samples.size(); ++i) {
      weights[i] = weight_of(cost->fixed_us + cost->per_page_us * samples[i].pages);
    }
    cost = fit_weighted(samples, weights);
  }
  return cost;
}

std::string render_table(const BenchReport& report) {
  std::size_t name = 0;
  std::size_t value = 0;
  std::size_t unit = 0;
  for (const BenchRow& row : report.rows) {
    name = std::max(name, label_text(row).size());
    value = std::max(value, value_text(row).size());
    unit = std::max(unit, row.unit.size());
  }
  std::string table;
  for (const BenchRow& row : report.rows) {
    std::string line = fmt::format("{:<{}}  {:>{}} {:<{}}  {}", label_text(row), name,
                                   value_text(row), value, row.unit, unit, row.note);
    line.erase(line.find_last_not_of(' ') + 1);
    table += line + '\n';
  }
  return table;
}

std::string render_json(const BenchReport& report) {
  nlohmann::ordered_json object = {{"engine", report.engine},
                                   {"rows", nlohmann::ordered_json::array()},
                                   {"skipped", nlohmann::ordered_json::array()},
                                   {"reset",
                                    {{"fixed_us", report.reset.fixed_us},
                                     {"per_page_us", report.reset.per_page_us},
                                     {"samples", nlohmann::ordered_json::array()}}}};
  for (const BenchRow& row : report.rows) {
    if (row.value) {
      object["rows"].push_back(
          {{"name", json_name(row)}, {"value", *row.value}, {"unit", row.unit}});
    } else {
      object["skipped"].push_back({{"name", json_name(row)}, {"why", row.note}});
    }
  }
  for (const ResetSample& sample : report.samples) {
    object["reset"]["samples"].push_back(nlohmann::ordered_json::array({sample.pages, sample.us}));
  }
  // A note may hold the bytes of some path.
  return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

std::string render_svg(const BenchReport& report) {
  const Plane plane = plane_for(report);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
      "height=\"{1}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#333333\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n"
      "<text x=\"{2:.1f}\" y=\"28\" font-size=\"16\" text-anchor=\"middle\">What a reset costs "
      "({3})</text>\n"
      "<text x=\"{2:.1f}\" y=\"48\" text-anchor=\"middle\">{4} \u00b5s + {5} \u00b5s per dirty "
      "page</text>\n",
      kWidth, kHeight, (kLeft + kRight) / 2, escaped(report.engine),
      number_text(report.reset.fixed_us), number_text(report.reset.per_page_us));
  svg += axes_svg(plane) + line_svg(plane, report.reset);
  for (const ResetSample& sample : report.samples) {
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"#2471a3\" fill-opacity=\"0.6\"/>\n",
        plane.x(sample.pages), plane.y(sample.us));
  }
  return svg + "</svg>\n";
}

}  // namespace spore::cli
