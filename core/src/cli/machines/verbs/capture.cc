// `spore capture` and `spore suspend`: a named machine to disk, and going on or not.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "cli/json_output.h"
#include "cli/machines/monitor_client.h"
#include "cli/machines/registry.h"
#include "cli/machines/verbs/description.h"
#include "cli/machines/verbs/verbs.h"
#include "wire/machine_json.h"

namespace spore::cli::machines {
namespace {

// A monitor closes its machine and ends, once that is captured.
constexpr std::chrono::milliseconds kEndingPause{20};
constexpr int kEndingRounds = 1500;

struct CaptureOptions {
  std::string name;
  std::string directory;
  bool stop = false;
  bool flat = true;
  bool json = false;
};

Result<SavedSpore> capture(const Registry& registry, const std::string& name,
                           const CaptureMessage& message) {
  SPORE_ASSIGN(MonitorClient client, MonitorClient::connect(registry, name));
  show_progress("capturing the machine");
  return client.capture(message);
}

void tell(const SavedSpore& saved, bool json) {
  if (json) {
    print_json(nlohmann::json(saved));
  } else {
    fmt::print("{}\n", saved.path);
  }
}

Result<SavedSpore> run_capture(const CaptureOptions& options) {
  SPORE_ASSIGN(const Registry registry, Registry::open());
  std::error_code error;
  const std::string path = std::filesystem::absolute(options.directory, error).string();
  return capture(registry, options.name,
                 {path, options.stop ? AfterCapture::kEnds : AfterCapture::kGoesOn, options.flat});
}

// Where a machine that is suspended goes: each time on top of the last.
std::string next_place(const Folder& folder) {
  for (int i = 1;; ++i) {
    std::string path = fmt::format("{}/suspended-{}", folder.path(), i);
    if (::access(path.c_str(), F_OK) != 0) {
      return path;
    }
  }
}

Result<SavedSpore> run_suspend(const std::string& name) {
  SPORE_ASSIGN(const Registry registry, Registry::open());
  SPORE_ASSIGN(const SavedSpore saved,
               capture(registry, name,
                       {next_place(registry.folder(name)), AfterCapture::kIsSuspended, true}));
  for (int round = 0; round < kEndingRounds; ++round) {
    SPORE_ASSIGN(const Entry entry, registry.find(name));
    if (entry.state == State::kSuspended) {
      return saved;
    }
    std::this_thread::sleep_for(kEndingPause);
  }
  return fail(ErrorCode::kTimedOut,
              fmt::format("suspending machine {}: it was saved, and its monitor does not end; "
                          "`spore list` shows what it does",
                          name));
}

}  // namespace

void add_capture_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("capture", "Capture a machine to disk, as a spore");
  auto options = std::make_shared<CaptureOptions>();
  command->add_option("name", options->name, "The machine")->required();
  command->add_option("directory", options->directory, "The spore, a new directory")->required();
  command->add_flag("--stop", options->stop, "The machine ends after that; else it goes on");
  command->add_flag("!--no-flat", options->flat,
                    "Keep RAM only compressed, not also as this host can map it");
  command->add_flag("--json", options->json, "Print what was written as a JSON object");
  command->footer(std::string("What runs in it runs in every machine that goes on from the spore "
                              "(spore resume, run --from,\nfork).\n") +
                  kStatusFooter + "Example:\n  spore capture web warm");
  command->callback([options, &context] {
    std::signal(SIGPIPE, SIG_IGN);
    end_on_signals();
    const auto saved = run_capture(*options);
    if (saved) {
      tell(*saved, options->json);
    }
    context.status = saved ? 0 : report(saved.error(), options->json);
  });
}

void add_suspend_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("suspend", "Put a machine to disk until it is resumed");
  auto options = std::make_shared<CaptureOptions>();
  command->add_option("name", options->name, "The machine")->required();
  command->add_flag("--json", options->json, "Print what was written as a JSON object");
  command->footer(
      std::string("`spore resume NAME` lets it go on, with all that ran in it; commands "
                  "that were started by `spore exec`\nlose their terminals. It is kept beside "
                  "the machine's other files, which `spore rm` removes.\n") +
      kStatusFooter + "Example:\n  spore suspend web");
  command->callback([options, &context] {
    std::signal(SIGPIPE, SIG_IGN);
    end_on_signals();
    const auto saved = run_suspend(options->name);
    if (saved) {
      tell(*saved, options->json);
    }
    context.status = saved ? 0 : report(saved.error(), options->json);
  });
}

}  // namespace spore::cli::machines
