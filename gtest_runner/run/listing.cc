// Runner's questions: whose framework the program is linked with, and which tests it has.
#include <fmt/format.h>

#include <chrono>

#include "gtest_runner/clock.h"
#include "guest_command.h"
#include "runner.h"

namespace spore::gtest_runner {

// What the program prints with --help alone.
Result<std::string> Runner::ask_for_help() {
  SPORE_ASSIGN(const CommandResult helped,
               run_command(*parent_, request({"--help"}), ending_.patience(options_.timeout),
                           program_.path));
  return helped.out;
}

// Sets framework_; an exit status when the program has answered what the user asked.
Result<std::optional<int>> Runner::choose_framework() {
  auto kind = options_.framework;
  std::string help;
  if (kept_) {
    kind = framework_named(notes_.framework);
    help = notes_.help;
  } else if (kind ? *kind == FrameworkKind::kCatch2 : program_.mentions_another_framework) {
    // doctest runs its tests when it is asked for GoogleTest's list. No framework does with --help.
    SPORE_ASSIGN(help, ask_for_help());
    kind = kind ? kind : framework_of_help(help);
  }
  const FrameworkKind chosen = kind.value_or(FrameworkKind::kGoogleTest);
  SPORE_ASSIGN(framework_, make_framework(chosen, options_.gtest, output_, help));
  notes_.framework = name_of(chosen);
  notes_.help = help;
  if (chosen == FrameworkKind::kGoogleTest) {
    return std::nullopt;
  }
  if (options_.gtest.list_tests) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("--gtest_list_tests: {} is a {} program; give it the options of {}",
                            program_.path, to_string(chosen), to_string(chosen)));
  }
  if (framework_->only_asks()) {
    SPORE_ASSIGN(const int status, pass_through());
    return status;
  }
  take_framework_options();
  return std::nullopt;
}

// Of a framework that is not GoogleTest, and what GoogleTest's flags are to it.
void Runner::take_framework_options() {
  if (auto output = framework_->output()) {
    output_ = std::move(output);
  }
  const GtestFlags& flags = options_.gtest;
  if (flags.shuffle || flags.also_run_disabled_tests || flags.brief) {
    say(
        fmt::format("of GoogleTest's flags a {} program is run with --gtest_filter, "
                    "--gtest_output and --gtest_repeat: the others are ignored",
                    to_string(framework_->kind())));
  }
}

// Fills list_ and selection_; an exit status when that was all there is to do.
Result<std::optional<int>> Runner::list_tests() {
  progress_("listing the tests");
  SPORE_ASSIGN(auto answered, choose_framework());
  if (answered) {
    return answered;
  }
  if (!kept_) {
    const auto start = std::chrono::steady_clock::now();
    const std::string report_path = guest_report_path(0);
    ExecRequest listing = request(framework_->list_arguments(report_path));
    if (program_.has_suite_points) {
      listing.env["SPORE_LIST_SUITES"] = "1";
    }
    set_profile_variables(options_.profiles, guest_profiles("list"), listing.env);
    SPORE_ASSIGN(const CommandResult listed,
                 run_command(*parent_, listing, ending_.patience(options_.timeout), program_.path));
    SPORE_ASSIGN(const CommandResult profiles,
                 run_command(*parent_, profile_request(guest_profiles("list")),
                             ending_.patience(options_.timeout), "tar"));
    notes_.is_profiled = !profiles.out.empty();
    notes_.list = listed.out;
    notes_.suites = suites_with_set_up(listed.errors);
    if (framework_->parse_list(listed.out).tests.empty()) {
      SPORE_ASSIGN(answered, nothing_listed(listed));
      if (answered) {
        return answered;
      }
    } else if (framework_->kind() == FrameworkKind::kGoogleTest && listed.exit.status() != 0) {
      SPORE_ASSIGN(const int status, run_whole(listed));
      return status;
    } else if (!framework_->lists_with(listed.exit.status())) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("listing the tests of {}: it {}\n{}", program_.path,
                              describe(listed.exit), listed.errors));
    }
    if (output_ && framework_->kind() == FrameworkKind::kGoogleTest) {
      ExecRequest fetch;
      fetch.argv = {"cat", report_path};
      SPORE_ASSIGN(CommandResult file,
                   run_command(*parent_, fetch, ending_.patience(options_.timeout), "cat"));
      notes_.listing = std::move(file.out);
    }
    story_.did("listing", seconds_since(start));
  }
  list_ = filtered(framework_->parse_list(notes_.list), options_.gtest.filter);
  selection_ = select_tests(list_, options_.gtest.also_run_disabled_tests, options_.outer.index,
                            options_.outer.total);
  return std::nullopt;
}

// No program of the framework, one that gave its help, or a choice that takes no test.
Result<std::optional<int>> Runner::nothing_listed(const CommandResult& listed) {
  const FrameworkKind kind = framework_->kind();
  if (kind == FrameworkKind::kGoogleTest && framework_of_help(listed.out) == kind) {
    sink_.err(listed.errors);
    sink_.out(listed.out);
    return listed.exit.status();
  }
  SPORE_ASSIGN(const std::string help, ask_for_help());
  const auto found = framework_of_help(help);
  if (kind == FrameworkKind::kGoogleTest && found == kind) {
    return std::nullopt;
  }
  if (kind != FrameworkKind::kGoogleTest && found == kind) {
    SPORE_ASSIGN(const int status, pass_through());  // it says so in its own words
    return status;
  }
  if (found && !options_.framework) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is a {} program: say --framework {}", program_.path,
                            to_string(*found), name_of(*found)));
  }
  const auto arguments = framework_->list_arguments("");
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{} is no {} program{}: with {} it {} and listed no test{}{}", program_.path,
                  to_string(kind), options_.framework ? "" : ", nor one of Catch2 or doctest",
                  arguments.front(), describe(listed.exit),
                  listed.errors.empty() ? "" : "; it said: ", listed.errors));
}

}  // namespace spore::gtest_runner
