// `spore completion`: shells complete the verbs, options and machines of `spore`. What there is to
// complete is asked of the program itself, by a hidden verb: a new verb needs nothing here.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/machines/registry.h"

namespace spore::cli {
namespace {

constexpr std::string_view kBash = R"(# spore: completion for bash
_spore() {
  local IFS=$'\n' word=${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=($(spore complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$word"))
}
complete -o filenames -F _spore spore
)";
constexpr std::string_view kZsh = R"(# spore: completion for zsh, which takes bash's
autoload -U +X bashcompinit && bashcompinit
)";
constexpr std::string_view kFish = R"(# spore: completion for fish
complete -c spore -a '(spore complete -- (commandline -opc)[2..-1] (commandline -ct) 2> /dev/null)'
)";

// Verbs whose arguments name machines.
bool takes_machines(const std::string& verb) {
  static const std::set<std::string> kVerbs = {"capture", "cp", "exec",   "logs",
                                               "resume",  "rm", "suspend"};
  return kVerbs.contains(verb);
}

std::vector<std::string> options_of(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      if (!option->get_group().empty()) {
        names.push_back("--" + name);
      }
    }
  }
  return names;
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands(nullptr)) {
    if (!verb->get_group().empty()) {
      names.push_back(verb->get_name());
    }
  }
  return names;
}

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  const auto registry = machines::Registry::open();
  if (const auto listing = registry ? registry->list() : fail(registry.error())) {
    for (const machines::Entry& entry : listing->entries) {
      names.push_back(entry.name);
    }
  }
  return names;
}

// What `words` can go on with; the last of them is the one that is being typed.
std::vector<std::string> candidates(const CLI::App& app, std::vector<std::string> words) {
  const std::string typed = words.empty() ? std::string() : std::move(words.back());
  if (!words.empty()) {
    words.pop_back();
  }
  const CLI::App* verb = &app;
  for (const std::string& word : words) {
    if (word == "--") {
      return {};  // a command of the user's own
    }
    for (const CLI::App* below : verb->get_subcommands(nullptr)) {
      if (below->check_name(word)) {
        verb = below;
        break;
      }
    }
  }
  std::vector<std::string> found;
  if (typed.starts_with("-")) {
    found = options_of(*verb);
  } else if (found = verbs_of(*verb); found.empty() && takes_machines(verb->get_name())) {
    found = machine_names();
  }
  std::erase_if(found, [&](const std::string& name) { return !name.starts_with(typed); });
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

void add_completion_commands(CLI::App& app, Context&) {
  CLI::App* completion =
      app.add_subcommand("completion", "Print what a shell needs to complete `spore`");
  auto shell = std::make_shared<std::string>();
  completion->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer("Example:\n  source <(spore completion bash)");
  completion->callback([shell] {
    if (*shell == "fish") {
      fmt::print("{}", kFish);
    } else {
      fmt::print("{}{}", *shell == "zsh" ? kZsh : std::string_view(), kBash);
    }
  });

  CLI::App* complete = app.add_subcommand("complete", "What the words can go on with")->group("");
  auto words = std::make_shared<std::vector<std::string>>();
  complete->add_option("words", *words)->allow_extra_args();
  complete->callback([words, &app] {
    for (const std::string& name : candidates(app, *words)) {
      fmt::print("{}\n", name);
    }
  });
}

}  // namespace spore::cli
