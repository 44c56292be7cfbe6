// Runner's way with a program that cannot be divided: it ends with a failure when it is asked for
// its tests, mostly because its main() wants to see them run. It is run once, as on this host, in
// one machine.
#include <fmt/format.h>

#include <fstream>

#include "gtest_runner/clock.h"
#include "gtest_runner/coverage/coverage.h"
#include "gtest_runner/failures/stack_text.h"
#include "guest_command.h"
#include "runner.h"

namespace spore::gtest_runner {
namespace {

// What comes on stderr, as it comes, but for a stack: that is told with names in the end.
class Errors {
 public:
  explicit Errors(TextSink& sink) : sink_(sink) {}

  void take(std::string_view bytes) {
    rest_ += bytes;
    const auto end = rest_.rfind('\n');
    if (end != std::string::npos || rest_.size() > kLongestLine) {
      tell(end == std::string::npos ? rest_.size() : end + 1);
    }
  }
  // Where the program was killed; empty if it was not.
  std::string finish() {
    tell(rest_.size());
    return stack_text(frames_);
  }

 private:
  static constexpr std::size_t kMostFrames = 64;
  static constexpr std::size_t kLongestLine = std::size_t{64} * 1024;

  void tell(std::size_t size) {
    std::string text = rest_.substr(0, size);
    rest_.erase(0, size);
    for (StackFrame& frame : take_stack(text)) {
      if (frames_.size() < kMostFrames) {
        frames_.push_back(std::move(frame));
      }
    }
    sink_.err(text);
  }

  TextSink& sink_;
  std::string rest_;
  std::vector<StackFrame> frames_;
};

}  // namespace

Result<int> Runner::run_whole(const CommandResult& listed) {
  const bool needs_list = options_.prepare || options_.repeat > 0 || keeper_;
  if (needs_list || listed.exit.out_of_memory) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("listing the tests of {}: it {}{}\n{}", program_.path, describe(listed.exit),
                    needs_list ? ", and without a list there is no --prepare, --repeat or "
                                 "--keep-failed"
                               : "",
                    listed.errors));
  }
  std::string why = listed.errors;
  take_stack(why);  // of one that aborts
  sink_.err(why);
  say(fmt::format("{} {} when it was asked for its tests: all run in one machine", program_.path,
                  describe(listed.exit)));
  SPORE_TRY(set_up());
  progress_("running the tests");
  const auto start = std::chrono::steady_clock::now();
  const std::string report_path = guest_report_path(next_batch_++);  // not that of the listing
  SPORE_ASSIGN(const auto exit, watch_whole(whole_request(report_path)));
  costs_.tests_s = seconds_since(start);
  story_.did("all tests", costs_.tests_s);
  if (!exit) {
    return 1;
  }
  if (output_) {
    ExecRequest cat;
    cat.argv = {"cat", report_path};
    const auto report =
        run_command(*parent_, cat, ending_.patience(options_.timeout, kForReport), "cat");
    if (!report) {
      say(report.error().message());
    } else if (report->exit.status() == 0) {  // a program that crashed has written none
      SPORE_TRY(write_output(*output_, report->out));
    }
  }
  if (const auto taken = take_profiles(*parent_); !taken) {
    say("the coverage did not come home: " + taken.error().message());
  }
  SPORE_TRY(coverage_.bring_home());
  return exit->status();
}

ExecRequest Runner::whole_request(const std::string& report_path) const {
  const GtestFlags& gtest = options_.gtest;
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
  // Whether it has profiles, its listing has not told: that may have been aborted.
  set_profile_variables(options_.profiles, guest_profiles("0"), whole.env);
  return whole;
}

// Runs the program, and tells what it prints as it comes. Nothing: it was ended, or its machine.
Result<std::optional<Exited>> Runner::watch_whole(const ExecRequest& whole) {
  SPORE_ASSIGN(const auto process, parent_->exec(whole));
  Errors errors(sink_);
  // A program that is brief says nothing of tests that pass.
  const auto quiet = options_.gtest.brief ? std::nullopt : options_.timeout;
  for (;;) {
    const auto event = process->next_event(ending_.patience(quiet));
    if (!event || ending_.is_late()) {
      late_ = ending_.is_late();
      parent_->close();
      errors.finish();
      say(late_ ? fmt::format("the {} s of --timeout-all are over: {} was ended", ending_.limit_s,
                              program_.path)
                : fmt::format("{} was ended: it printed nothing within the {} s of --timeout",
                              program_.path, static_cast<double>(quiet->count()) / 1000));
      return std::nullopt;
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      if (output->stream == OutputStream::kStdout) {
        sink_.out(output->data);
      } else {
        errors.take(output->data);
      }
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      const std::string stack = errors.finish();
      if (exited->signal != 0 || exited->out_of_memory) {
        say(fmt::format("{} {}{}{}", program_.path, describe(*exited),
                        stack.empty() ? "" : "; its stack:\n", stack));
      }
      return *exited;
    } else if (const auto* lost = std::get_if<Lost>(&*event)) {
      errors.finish();
      say(fmt::format("{}: the machine was lost: {} ({})\n{}", program_.path,
                      to_string(lost->end.reason), lost->end.detail, lost->end.console_tail));
      if (!options_.console_log.empty()) {
        std::ofstream(options_.console_log, std::ios::app) << lost->end.console_tail << "\n";
      }
      return std::nullopt;
    } else {
      // What was counted until there has been written, and is no more in the program.
      if (const auto taken = take_profiles(*parent_); !taken) {
        say("the coverage of the set-up did not come home: " + taken.error().message());
      }
      SPORE_TRY(process->release_fixture_point());
    }
  }
}

}  // namespace spore::gtest_runner
