// `spore diff`: what two spores on disk have not in common.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

constexpr std::size_t kShown = 8;  // of each list; --json has all
constexpr std::size_t kValueCharacters = 48;

struct DiffVerbOptions {
  std::string left;
  std::string right;
  bool json = false;
};

void say_rest(std::size_t count) {
  if (count > kShown) {
    fmt::print("  ... and {} more (--json has all)\n", count - kShown);
  }
}

void print_ram(const SporeDifference& difference) {
  if (difference.pages == 0) {
    return;
  }
  fmt::print("ram: {} in {}, {}\n", count_text(difference.pages, "page"),
             count_text(difference.ranges.size(), "range"), size_text(difference.pages * 4096));
  for (std::size_t i = 0; i < std::min(kShown, difference.ranges.size()); ++i) {
    fmt::print("  {:#012x}  {}\n", difference.ranges[i].offset,
               size_text(difference.ranges[i].bytes));
  }
  say_rest(difference.ranges.size());
}

std::string value_text(const std::string& value) {
  return value.empty() ? "(not there)" : shortened(value, kValueCharacters);
}

void print_fields(const std::vector<FieldDifference>& fields) {
  for (auto begin = fields.begin(); begin != fields.end();) {
    const auto end = std::find_if(begin, fields.end(), [&](const FieldDifference& field) {
      return field.part != begin->part;
    });
    const auto count = static_cast<std::size_t>(end - begin);
    fmt::print("{}: {}\n", begin->part, count_text(count, "field"));
    for (std::size_t i = 0; i < std::min(kShown, count); ++i, ++begin) {
      fmt::print("  {}: {} | {}\n", begin->path.empty() ? "/" : begin->path,
                 value_text(begin->left), value_text(begin->right));
    }
    say_rest(count);
    begin = end;
  }
}

int diff(const DiffVerbOptions& options) {
  const auto difference = diff_spores(options.left, options.right);
  if (!difference) {
    return report(difference.error(), options.json);
  }
  if (options.json) {
    fmt::print("{}\n", json_text(*difference));
  } else {
    print_ram(*difference);
    print_fields(difference->fields);
  }
  return difference->same() ? 0 : 1;
}

}  // namespace

void add_diff_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("diff", "Say how two spores on disk differ");
  auto options = std::make_shared<DiffVerbOptions>();
  command->add_option("left", options->left, "A spore's directory")->required();
  command->add_option("right", options->right, "Another's")->required();
  command->add_flag("--json", options->json, "As a JSON object, complete");
  command->footer(
      "Compares RAM, CPUs and devices (vm), processes (agent), platform, images, annotations,\n"
      "generation and fork parameters. Answers 0 when they are the same, 1 when they differ, 125\n"
      "when one cannot be read.\n"
      "Example:\n  spore diff ./before.spore ./after.spore");
  command->callback([options, &context] {
    end_on_signals();
    context.status = diff(*options);
  });
}

}  // namespace spore::cli
