// Manual pages, from what --help says: `spore manual DIRECTORY` writes spore.1 and a page for each
// verb (man(7)). The build calls it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "cli/command.h"

namespace spore::cli {
namespace {

// Text as troff takes it: no request at the start of a line, no escape of its own.
std::string plain(std::string_view text) {
  std::string escaped;
  bool line_starts = true;
  for (const char c : text) {
    if (line_starts && (c == '.' || c == '\'')) {
      escaped += "\\&";
    }
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    line_starts = c == '\n';
  }
  return escaped;
}

std::string synopsis_of(const std::string& name, const CLI::App& app) {
  std::string line = fmt::format(".B {}\n", plain(name));
  if (!app.get_subcommands(nullptr).empty()) {
    return line + ".I VERB\n[\\fIOPTIONS\\fR]\n";
  }
  line += "[\\fIOPTIONS\\fR]\n";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      const bool many = option->get_items_expected_max() > 1;
      const std::string word = plain(option->get_name(true)) + (many ? "..." : "");
      line += option->get_required() ? fmt::format("\\fI{}\\fR\n", word)
                                     : fmt::format("[\\fI{}\\fR]\n", word);
    }
  }
  return line;
}

std::string options_of(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) {
      continue;
    }
    const bool positional = option->get_positional() && option->get_lnames().empty();
    text +=
        fmt::format(".TP\n{} {}\n{}\n", positional ? ".I" : ".B",
                    plain(option->get_name(positional, true)), plain(option->get_description()));
  }
  return text;
}

std::string page_of(const std::string& name, const CLI::App& app, const std::string& see_also) {
  std::string dashed = name;
  std::replace(dashed.begin(), dashed.end(), ' ', '-');
  std::string page = fmt::format(
      ".TH {} 1 \"\" \"spore {}\" \"Spore\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}", dashed,
      SPORE_VERSION, plain(dashed), plain(app.get_description()), synopsis_of(name, app));
  std::string verbs;
  for (const CLI::App* verb : app.get_subcommands(nullptr)) {
    if (!verb->get_group().empty()) {
      verbs +=
          fmt::format(".TP\n.B {}\n{}\n", plain(verb->get_name()), plain(verb->get_description()));
    }
  }
  if (!verbs.empty()) {
    page += ".SH VERBS\n" + verbs;
  }
  page += ".SH OPTIONS\n" + options_of(app);
  if (!app.get_footer().empty()) {
    page += fmt::format(".SH NOTES\n.nf\n{}\n.fi\n", plain(app.get_footer()));
  }
  if (!see_also.empty()) {
    page += fmt::format(".SH SEE ALSO\n.BR {} (1)\n", see_also);
  }
  return page;
}

Result<void> write_page(const std::filesystem::path& folder, const std::string& name,
                        const std::string& page) {
  std::string file = name + ".1";
  std::replace(file.begin(), file.end(), ' ', '-');
  std::ofstream out(folder / file, std::ios::trunc);
  if (!(out << page << std::flush)) {
    return fail(Error::from_errno(errno, fmt::format("writing {}", (folder / file).string())));
  }
  return {};
}

Result<void> write_pages(const std::filesystem::path& folder, const std::string& name,
                         const CLI::App& app, const std::string& see_also) {
  SPORE_TRY(write_page(folder, name, page_of(name, app, see_also)));
  for (const CLI::App* verb : app.get_subcommands(nullptr)) {
    if (!verb->get_group().empty()) {
      SPORE_TRY(write_pages(folder, name + " " + verb->get_name(), *verb, "spore"));
    }
  }
  return {};
}

}  // namespace

void add_manual_command(CLI::App& app, Context& context) {
  CLI::App* manual = app.add_subcommand("manual", "Write the manual pages")->group("");
  auto folder = std::make_shared<std::string>();
  manual->add_option("folder", *folder, "Where")->required();
  manual->callback([folder, &app, &context] {
    std::error_code error;
    std::filesystem::create_directories(*folder, error);
    const auto written = write_pages(*folder, "spore", app, "");
    context.status = written ? 0 : report(written.error());
  });
}

}  // namespace spore::cli
