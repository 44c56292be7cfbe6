// What `spore bench` says: its rows as a table or as JSON, and the cost of a reset as a line fitted
// through samples, drawn as SVG. Pure: nothing here measures or writes anywhere.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace spore::cli {

struct BenchRow {
  std::string name;
  std::optional<double> value;  // none: it was not measured, and the note says why
  std::string unit;
  std::string note;
  std::string phase;  // not empty: this is a phase of what `name` says
};

struct ResetSample {
  double pages = 0;
  double us = 0;
};

// us = fixed_us + per_page_us * pages
struct ResetCost {
  double fixed_us = 0;
  double per_page_us = 0;
};

struct BenchReport {
  std::string engine;
  std::vector<BenchRow> rows;
  ResetCost reset;
  std::vector<ResetSample> samples;
};

// The middle one, or the mean of the two in the middle; 0 of none.
double median(std::vector<double> values);

// By least squares; nothing when the samples do not lie at two different numbers of pages at least.
// Small resets say what is fixed, and noise grows with the cost, so each square counts relative to
// the cost: an outlier among large resets must not decide about the fixed part.
std::optional<ResetCost> fit_reset_cost(const std::vector<ResetSample>& samples);

// Name, value, unit and note in columns; phases indented below what they are phases of.
std::string render_table(const BenchReport& report);
// One object; rows that were not measured are listed under "skipped".
std::string render_json(const BenchReport& report);
// The samples and the fitted line over dirty pages, on a white ground of its own.
std::string render_svg(const BenchReport& report);

}  // namespace spore::cli
