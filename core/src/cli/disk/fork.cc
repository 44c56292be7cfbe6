// `spore fork`: children of a spore on disk, without running or copying any.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

struct ForkVerbOptions {
  std::string path;
  std::string out;
  std::string name;
  std::vector<std::string> user;
  std::uint32_t count = 0;
  bool json = false;
};

Result<DiskForkOptions> fork_options(const ForkVerbOptions& options) {
  DiskForkOptions fork;
  fork.name = options.name;
  for (const std::string& word : options.user) {
    const auto equals = word.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("reading --user {}: say KEY=VALUE", word));
    }
    fork.user[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return fork;
}

int fork(const ForkVerbOptions& options) {
  const auto fork = fork_options(options);
  if (!fork) {
    return report(fork.error(), options.json);
  }
  const auto forks = fork_spore(options.path, options.count, options.out, *fork);
  if (!forks) {
    return report(forks.error(), options.json);
  }
  if (options.json) {
    fmt::print("{}\n", json_text(*forks));
  } else {
    fmt::print("{} of {} in {}, {} to {}, {:.1f} ms\n",
               forks->children.size() == 1 ? std::string("1 child")
                                           : fmt::format("{} children", forks->children.size()),
               short_id(forks->parent), forks->path, "000000",
               fmt::format("{:06}", forks->children.size() - 1),
               static_cast<double>(forks->fork_us) / 1000);
  }
  return 0;
}

}  // namespace

void add_fork_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("fork", "Make children of a spore on disk, each a manifest of its own");
  auto options = std::make_shared<ForkVerbOptions>();
  command->add_option("spore", options->path, "The spore's directory")->required();
  command->add_option("-n,--count", options->count, "How many children")
      ->required()
      ->check(CLI::Range(1U, kMaxDiskForks));
  command
      ->add_option("-o,--out", options->out,
                   "A new directory for them: 000000, 000001, ...; it appears when all are there")
      ->required();
  command->add_option("--name", options->name, "They are named NAME-0, NAME-1, ...");
  command
      ->add_option("--user", options->user,
                   "KEY=VALUE that every child finds in its generation; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--json", options->json, "As a JSON object");
  command->footer(
      "The children need the spore where it is: move both together, or pack them.\n"
      "Example:\n  spore fork ./db.spore --count 8 --out ./shards");
  command->callback([options, &context] {
    end_on_signals();
    context.status = fork(*options);
  });
}

}  // namespace spore::cli
