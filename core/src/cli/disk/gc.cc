// `spore gc`: what nobody needs of the spores below a folder.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

struct GcVerbOptions {
  std::string folder;
  bool remove = false;
  bool all = false;
  bool json = false;
};

int gc(const GcVerbOptions& options) {
  const auto found =
      collect_garbage(options.folder, {.dry_run = !options.remove, .all = options.all});
  if (!found) {
    return report(found.error(), options.json);
  }
  if (options.json) {
    fmt::print("{}\n", json_text(*found));
    return 0;
  }
  for (const Garbage& item : found->items) {
    fmt::print("{:<8} {:>10}  {}: {}\n", item.kind, size_text(item.bytes), item.path, item.why);
  }
  for (const std::string& note : found->notes) {
    fmt::print(stderr, "spore: {}\n", note);
  }
  fmt::print("{}, {}{}\n", count_text(found->items.size(), "item"), size_text(found->bytes),
             found->removed         ? " removed"
             : found->items.empty() ? ""
                                    : " would be removed (--delete does it)");
  return 0;
}

}  // namespace

void add_gc_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("gc", "Find what crashes left of spores in a folder, and remove it");
  auto options = std::make_shared<GcVerbOptions>();
  command->add_option("folder", options->folder, "Where to look, and below")->required();
  command->add_flag("--delete", options->remove, "Remove it; else it is only listed");
  command->add_flag("--all", options->all,
                    "Also what was written to in the last hour: nobody may be saving there");
  command->add_flag("--json", options->json, "As a JSON object");
  command->footer(
      "That is: directories in the making whose program has ended, chunks, sections and images\n"
      "that no spore around needs, flat backings without proof. Nothing else is touched.\n"
      "Example:\n  spore gc ./spores --delete");
  command->callback([options, &context] {
    end_on_signals();
    context.status = gc(*options);
  });
}

}  // namespace spore::cli
