// `spore cache`: the machines that test runners keep from one run to the next.
#include <fmt/format.h>

#include <ctime>
#include <memory>
#include <string>
#include <utility>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/kept.h"

namespace spore::cli {
namespace {

constexpr std::size_t kLabelColumns = 60;

struct CacheVerbOptions {
  std::string digest;
  bool json = false;
};

nlohmann::json to_json(const std::vector<KeptInfo>& machines) {
  nlohmann::json list = nlohmann::json::array();
  for (const KeptInfo& one : machines) {
    list.push_back(nlohmann::json::parse(json_text(one)));
  }
  return list;
}

int list_cache(const CacheVerbOptions& options) {
  const auto machines = kept_machines();
  const auto limit = kept_limit();
  if (!machines || !limit) {
    return report(machines ? limit.error() : machines.error(), options.json);
  }
  if (options.json) {
    print_json({{"machines", to_json(*machines)}, {"limit", *limit}});
    return 0;
  }
  std::uint64_t total = 0;
  if (!machines->empty()) {
    fmt::print("{:<12}  {:>10}  {:<23}  {}\n", "DIGEST", "SIZE", "USED", "OF");
  }
  for (const KeptInfo& one : *machines) {
    total += one.bytes;
    fmt::print("{:<12}  {:>10}  {:<23}  {}\n", short_id(one.digest), size_text(one.bytes),
               time_text(one.used), shortened(one.label, kLabelColumns));
  }
  fmt::print("{}, {} of {}\n", count_text(machines->size(), "kept machine"), size_text(total),
             size_text(*limit));
  return 0;
}

// The machines that `prefix` names; all for an empty one.
Result<std::vector<KeptInfo>> chosen(const std::string& prefix) {
  SPORE_ASSIGN(auto machines, kept_machines());
  std::erase_if(machines,
                [&prefix](const KeptInfo& one) { return !one.digest.starts_with(prefix); });
  if (machines.empty() && !prefix.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("clearing the kept machine {}: there is none whose digest begins so "
                            "(`spore cache list` shows them)",
                            prefix));
  }
  return machines;
}

int clear_cache(const CacheVerbOptions& options) {
  auto machines = chosen(options.digest);
  if (!machines) {
    return report(machines.error(), options.json);
  }
  std::vector<KeptInfo> removed;
  std::uint64_t bytes = 0;
  for (KeptInfo& one : *machines) {
    const auto done = remove_kept(one.digest);
    if (!done) {
      return report(done.error(), options.json);
    }
    if (*done) {
      bytes += one.bytes;
      removed.push_back(std::move(one));
    } else {
      fmt::print(stderr, "spore: {} is in use, and was left\n", short_id(one.digest));
    }
  }
  if (options.json) {
    print_json({{"removed", to_json(removed)}, {"bytes", bytes}});
  } else {
    fmt::print("{} removed, {}\n", count_text(removed.size(), "kept machine"), size_text(bytes));
  }
  return 0;
}

}  // namespace

void add_cache_commands(CLI::App& app, Context& context) {
  CLI::App* cache =
      app.add_subcommand("cache", "The machines that test runners keep for their next run");
  cache->require_subcommand(1);
  cache->footer(
      "A run that is made of the same things as one before starts from its machine. All that are\n"
      "kept take at most SPORE_KEPT_LIMIT (8G if it is not set); what was used least recently "
      "goes\n"
      "first. SPORE_CACHE_DIR chooses where they lie.\n"
      "Examples:\n  spore cache list\n  spore cache clear");
  auto options = std::make_shared<CacheVerbOptions>();
  CLI::App* list = cache->add_subcommand("list", "List them, the one that was used last first");
  list->add_flag("--json", options->json, "As a JSON object, with all that each is made of");
  list->callback([options, &context] { context.status = list_cache(*options); });
  CLI::App* clear = cache->add_subcommand("clear", "Remove those that are not in use");
  clear->add_option("digest", options->digest, "Only this one, by the start of its digest");
  clear->add_flag("--json", options->json, "As a JSON object");
  clear->callback([options, &context] {
    end_on_signals();
    context.status = clear_cache(*options);
  });
}

}  // namespace spore::cli
