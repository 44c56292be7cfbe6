// `spore unpack`: spores out of a bundle, checked. Hostile bytes: the bundle.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "cli/json_output.h"
#include "spore/disk.h"

namespace spore::cli {
namespace {

struct UnpackVerbOptions {
  std::string bundle;
  std::string folder;
  std::string digest;
  bool json = false;
};

Result<std::size_t> read_stdin(std::span<char> bytes) {
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count >= 0) {
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR) {
      return fail(Error::from_errno(errno, "reading the bundle from stdin"));
    }
  }
}

int unpack(const UnpackVerbOptions& options) {
  const UnpackOptions how{options.digest};
  const auto bundle = options.bundle == "-"
                          ? unpack_bundle(read_stdin, options.folder, how)
                          : unpack_bundle_file(options.bundle, options.folder, how);
  if (!bundle) {
    return report(bundle.error(), options.json);
  }
  if (options.json) {
    fmt::print("{}\n", json_text(*bundle));
    return 0;
  }
  fmt::print("{} {}\n", bundle->digest, bundle->path);
  for (const BundledSpore& spore : bundle->spores) {
    fmt::print("  {}  {}\n", short_id(spore.id), spore.name);
  }
  return 0;
}

}  // namespace

void add_unpack_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("unpack", "Take spores out of a bundle");
  auto options = std::make_shared<UnpackVerbOptions>();
  command->add_option("bundle", options->bundle, "The file (-: stdin)")->required();
  command
      ->add_option("folder", options->folder,
                   "A new directory: the spore, or a folder of several; it appears when all of it "
                   "is there and right")
      ->required();
  command->add_option("--digest", options->digest, "Refuse a bundle with another digest");
  command->add_flag("--json", options->json, "As a JSON object");
  command->footer("Example:\n  spore unpack db.tar ./db.spore");
  command->callback([options, &context] {
    end_on_signals();
    context.status = unpack(*options);
  });
}

}  // namespace spore::cli
