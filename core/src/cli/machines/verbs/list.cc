// `spore list`: the named machines.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "cli/json_output.h"
#include "cli/machines/registry.h"
#include "cli/machines/verbs/description.h"
#include "cli/machines/verbs/verbs.h"
#include "spore/machine.h"

namespace spore::cli::machines {
namespace {

constexpr std::size_t kColumns = 6;
using Row = std::array<std::string, kColumns>;

Row row_of(const Entry& entry) {
  const auto& record = entry.record;
  const auto known = [&](std::string text) {
    return record && !text.empty() ? std::move(text) : std::string("-");
  };
  return {entry.name,
          std::string(to_string(entry.state)),
          known(record ? record->engine : ""),
          known(record ? fmt::format("{}M", record->memory_bytes / kMiB) : ""),
          known(record ? std::to_string(record->cpus) : ""),
          known(record ? age_text(std::time(nullptr) - record->created) : "")};
}

void print_table(const std::vector<Entry>& entries) {
  std::vector<Row> rows = {{"NAME", "STATE", "ENGINE", "MEMORY", "CPUS", "AGE"}};
  std::transform(entries.begin(), entries.end(), std::back_inserter(rows), row_of);
  std::array<std::size_t, kColumns> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < kColumns; ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i + 1 < kColumns; ++i) {
      line += fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    fmt::print("{}{}\n", line, row.back());
  }
}

Result<Listing> list() {
  SPORE_ASSIGN(const Registry registry, Registry::open());
  return registry.list();
}

int run(bool as_json) {
  end_on_signals();
  const auto listing = list();
  if (!listing) {
    return report(listing.error(), as_json);
  }
  for (const std::string& name : listing->gone) {
    fmt::print(stderr, "spore: machine {} is gone: its monitor died; what was left is removed\n",
               name);
  }
  if (as_json) {
    auto machines = nlohmann::json::array();
    for (const Entry& entry : listing->entries) {
      machines.push_back(to_json(entry));
    }
    print_json({{"machines", machines}, {"gone", listing->gone}});
  } else {
    print_table(listing->entries);
  }
  return 0;
}

}  // namespace

void add_list_command(CLI::App& app, Context& context) {
  CLI::App* list = app.add_subcommand("list", "List the machines that `spore create` made");
  auto as_json = std::make_shared<bool>(false);
  list->add_flag("--json", *as_json, "As a JSON object");
  list->footer(
      std::string("A machine that ended by itself stays until `spore rm`, for its logs.\n") +
      kStatusFooter + "Example:\n  spore list");
  list->callback([as_json, &context] { context.status = run(*as_json); });
}

}  // namespace spore::cli::machines
