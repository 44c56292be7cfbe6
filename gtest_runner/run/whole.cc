// Runner's way with a program that cannot be divided: its main() fails when it is asked for its
// tests, for it wants to see them run. It is run once, as on this host, in one machine.
#include <fmt/format.h>

#include "gtest_runner/clock.h"
#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/failures/stack_text.h"
#include "guest_command.h"
#include "runner.h"

namespace spore::gtest_runner {

Result<int> Runner::run_whole(const CommandResult& listed) {
  const GtestFlags& gtest = options_.gtest;
  if (options_.prepare || options_.repeat > 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("listing the tests of {}: it {}, so that {} cannot be done\n{}",
                            program_.path, describe(listed.exit),
                            options_.prepare ? "--prepare" : "--repeat", listed.errors));
  }
  say(fmt::format("{} {} when it was asked for its tests: all run in one machine", program_.path,
                  describe(listed.exit)));
  SPORE_TRY(set_up());
  progress_("running the tests");
  const auto start = std::chrono::steady_clock::now();
  const std::string report_path = guest_report_path(0);
  std::vector<std::string> arguments =
      framework_->run_arguments({.report_path = report_path, .random_seed = random_seed_});
  const auto add = [&arguments](std::string argument) { arguments.push_back(std::move(argument)); };
  add("--gtest_filter=" + gtest.filter);
  add(fmt::format("--gtest_repeat={}", gtest.repeat));
  add(fmt::format("--gtest_color={}", style().color ? "yes" : "no"));
  add(fmt::format("--gtest_print_time={}", gtest.print_time ? 1 : 0));
  if (gtest.brief) {
    add("--gtest_brief=1");
  }
  ExecRequest whole = request(arguments);
  if (options_.outer.total > 1) {
    whole.env["GTEST_TOTAL_SHARDS"] = std::to_string(options_.outer.total);
    whole.env["GTEST_SHARD_INDEX"] = std::to_string(options_.outer.index);
  }
  if (notes_.is_profiled) {
    set_profile_variables(options_.profiles, guest_profiles("0"), whole.env);
  }
  SPORE_ASSIGN(const Exited exit, watch_whole(whole));
  costs_.tests_s = seconds_since(start);
  story_.did("all tests", costs_.tests_s);
  if (late_) {
    return exit.status();
  }
  const auto fetch = [this](ExecRequest what) {
    return run_command(*parent_, what, ending_.patience(options_.timeout), what.argv.front());
  };
  if (output_) {
    ExecRequest cat;
    cat.argv = {"cat", report_path};
    SPORE_ASSIGN(const CommandResult report, fetch(cat));
    if (report.exit.status() == 0) {  // a program that crashed has written none
      SPORE_TRY(write_output(*output_, report.out));
    }
  }
  if (notes_.is_profiled) {
    SPORE_ASSIGN(const CommandResult profiles, fetch(profile_request(guest_profiles("0"))));
    SPORE_TRY(coverage_.take(profiles.out));
    SPORE_TRY(coverage_.bring_home());
  }
  return exit.status();
}

// Runs the program, and tells what it prints as it comes.
Result<Exited> Runner::watch_whole(const ExecRequest& whole) {
  SPORE_ASSIGN(const auto process, parent_->exec(whole));
  std::string errors;
  for (;;) {
    const auto event = process->next_event(ending_.patience(options_.timeout));
    if (ending_.is_late()) {
      sink_.err(errors);
      say(fmt::format("the {} s of --timeout-all are over: {} was ended", ending_.limit_s,
                      program_.path));
      parent_->close();
      late_ = true;
      return Exited{.code = 1};
    }
    if (!event) {
      sink_.err(errors);
      return fail(ErrorCode::kTimedOut,
                  fmt::format("running {}: it printed nothing within --timeout", program_.path));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      if (output->stream == OutputStream::kStdout) {
        sink_.out(output->data);
      } else {
        errors += output->data;
      }
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      const std::string stack = stack_text(take_stack(errors));
      sink_.err(errors);
      if (exited->signal != 0) {
        say(fmt::format("{} {}{}{}", program_.path, describe(*exited),
                        stack.empty() ? "" : "; its stack:\n", stack));
      }
      return *exited;
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      sink_.err(errors);
      return fail(
          ErrorCode::kMachineEnded,
          fmt::format("running {}: the machine was lost: {} ({})\n{}", program_.path,
                      to_string(lost->end.reason), lost->end.detail, lost->end.console_tail));
    } else if (auto released = process->release_fixture_point(); !released) {
      return fail(released.error());
    }
  }
}

}  // namespace spore::gtest_runner
