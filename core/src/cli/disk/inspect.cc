// `spore inspect`: what a spore on disk is made of, and whether all of it is right.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

struct InspectVerbOptions {
  std::string path;
  bool verify = false;
  bool json = false;
};

template <typename... Parts>
void line(std::string_view name, fmt::format_string<Parts...> format, Parts&&... parts) {
  fmt::print("{:<12}{}\n", name, fmt::format(format, std::forward<Parts>(parts)...));
}

void print_machine(const SporeReport& report) {
  const SporePlatform& platform = report.platform;
  line("machine", "{} MiB, {}, {} board {}, {}", platform.memory_bytes >> 20,
       count_text(platform.cpus, "CPU"), platform.architecture, platform.board, platform.backend);
  line("cpu", "{}, {}, TSC {} kHz, {}", platform.cpu_vendor,
       count_text(platform.cpu_features.size(), "feature"), platform.tsc_khz, platform.clock);
  line("kernel", "sha256 {}", platform.kernel_sha256);
  line("generation", "{} ({})", report.generation.number, report.generation.id);
  if (report.fork) {
    line("fork", "child {} of {}, shard {} of {}{}", report.fork->child_index,
         report.fork->child_count, report.fork->shard_index, report.fork->shard_count,
         report.fork->name.empty() ? std::string() : ", named " + report.fork->name);
    for (const auto& [key, value] : report.fork->user) {
      line("", "{}={}", key, value);
    }
  }
}

void print_ram(const SporeReport& report) {
  const char* name = "ram";
  for (const RamLayer& layer : report.ram) {
    std::string flat;
    if (layer.flat_bytes != 0) {
      flat = fmt::format("; flat backing {} {} proof", size_text(layer.flat_bytes),
                         layer.flat_proof ? "with" : "without");
    }
    line(name, "{} in {}, {} compressed{}{}", count_text(layer.pages, "page"),
         count_text(layer.chunks, "chunk"), size_text(layer.file_bytes), flat,
         layer.path == report.path ? std::string() : fmt::format(" ({})", layer.path));
    name = "  on top of";
  }
}

void print_text(const SporeReport& report) {
  line("spore", "{}", report.id);
  line("path", "{}", report.path);
  line("created", "{} by {}", time_text(report.created), report.created_by);
  for (const SporeAncestor& parent : report.parents) {
    line("parent", "{} ({})", parent.path, short_id(parent.id));
  }
  print_machine(report);
  print_ram(report);
  for (const SporeImage& image : report.images) {
    line("image", "{} {}, {}", short_id(image.sha256), size_text(image.bytes),
         image.found.empty() ? fmt::format("MISSING (was {})", image.name) : image.found);
  }
  for (const auto& [key, value] : report.annotations) {
    line("annotation", "{}={}", key, value);
  }
  for (const BadFile& bad : report.bad) {
    line("BAD", "{}: {}", bad.path, bad.why);
  }
  if (report.verified) {
    line("verified", "{}",
         report.bad.empty() ? std::string("every file, and its parents'")
                            : count_text(report.bad.size(), "bad file"));
  }
}

int inspect(const InspectVerbOptions& options) {
  const auto report = inspect_spore(options.path, {options.verify});
  if (!report) {
    return cli::report(report.error(), options.json);
  }
  options.json ? fmt::print("{}\n", json_text(*report)) : print_text(*report);
  return report->bad.empty() ? 0 : 1;
}

}  // namespace

void add_inspect_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("inspect", "Say what a spore on disk is made of");
  auto options = std::make_shared<InspectVerbOptions>();
  command->add_option("spore", options->path, "Its directory")->required();
  command->add_flag("--verify", options->verify, "Read and check all of it");
  command->add_flag("--json", options->json, "As a JSON object");
  command->footer(
      "Answers 1 when something is missing or damaged, each on a line of its own.\n"
      "Example:\n  spore inspect --verify ./db.spore");
  command->callback([options, &context] {
    end_on_signals();
    context.status = inspect(*options);
  });
}

}  // namespace spore::cli
