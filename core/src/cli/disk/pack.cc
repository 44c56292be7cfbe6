// `spore pack`: spores with all that they need, as one tar file or stream.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

struct PackVerbOptions {
  std::vector<std::string> paths;
  std::string out;
  bool no_images = false;
  bool json = false;
};

Result<Bundle> pack_to_stdout(const PackVerbOptions& options) {
  if (isatty(STDOUT_FILENO) != 0) {
    return fail(ErrorCode::kInvalidArgument,
                "packing spores: a terminal is no place for a bundle: name a file with -o, or use "
                "a pipe");
  }
  return pack_spores(
      options.paths,
      [](std::string_view bytes) { return base::write_all(STDOUT_FILENO, bytes, "to stdout"); },
      {.images = !options.no_images});
}

int pack(const PackVerbOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  const bool to_stdout = options.out.empty() || options.out == "-";
  const auto bundle = to_stdout ? pack_to_stdout(options)
                                : pack_spores_to(options.paths, options.out, {!options.no_images});
  if (!bundle) {
    return report(bundle.error(), options.json);
  }
  // Where the bundle is not.
  std::FILE* where = to_stdout ? stderr : stdout;
  if (options.json) {
    fmt::print(where, "{}\n", json_text(*bundle));
  } else {
    fmt::print(where, "{} {}\n{}, {} ({} of it root images)\n", bundle->digest,
               to_stdout ? "-" : bundle->path, count_text(bundle->spores.size(), "spore"),
               size_text(bundle->bytes), size_text(bundle->image_bytes));
  }
  return 0;
}

}  // namespace

void add_pack_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("pack", "Put spores and all that they need into one tar file");
  auto options = std::make_shared<PackVerbOptions>();
  command
      ->add_option("spores", options->paths,
                   "Their directories: one spore, or several that have a parent in common")
      ->required();
  command->add_option("-o,--output", options->out, "A new file (default, or -: stdout)");
  command->add_flag("--no-images", options->no_images,
                    "Without root images: they have to be where they were");
  command->add_flag("--json", options->json, "Say what was packed as a JSON object");
  command->footer(
      "Prints the bundle's digest (on stderr when the bundle goes to stdout), which `spore\n"
      "unpack --digest` takes. The same spores give the same bytes.\n"
      "Example:\n  spore pack ./db.spore -o db.tar");
  command->callback([options, &context] {
    end_on_signals();
    context.status = pack(*options);
  });
}

}  // namespace spore::cli
