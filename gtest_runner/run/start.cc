// Runner's start: a captured machine, made from nothing or kept by an earlier run.
#include <fmt/format.h>

#include <chrono>

#include "gtest_runner/clock.h"
#include "guest_command.h"
#include "runner.h"

namespace spore::gtest_runner {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

Result<void> Runner::boot() {
  progress_("booting the machine");
  const auto start = Clock::now();
  MachineConfig config;
  config.memory_bytes = options_.memory_mib * kMiB;
  config.cpus = options_.cpus;
  config.kernel = options_.kernel;
  config.images = images_;
  constexpr Milliseconds kForBoot{120'000};
  SPORE_ASSIGN(parent_, session_.boot(config, *ending_.patience(kForBoot)));
  if (options_.makes_workdir) {
    ExecRequest make;
    make.argv = {"mkdir", "-p", options_.workdir};
    SPORE_ASSIGN(
        const CommandResult made,
        run_command(*parent_, make, ending_.patience(options_.timeout), "mkdir in the guest"));
    if (made.exit.status() != 0) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("making the working directory {} in the guest: {}; give another "
                              "with --workdir",
                              options_.workdir, made.errors));
    }
  }
  costs_.boot_s = seconds_since(start);
  story_.did("boot", costs_.boot_s);
  return {};
}

// A kept machine that is of no use costs the time that it would have spared, and nothing else.
void Runner::look_for_kept() {
  if (key_.empty() || options_.fresh) {
    return;
  }
  const auto start = Clock::now();
  const auto gone_on = [this]() -> Result<void> {
    SPORE_ASSIGN(auto kept, find_kept(key_));
    return kept ? go_on_from(std::move(kept)) : Result<void>();
  }();
  if (!gone_on) {
    say(fmt::format("the machine that was kept cannot go on: {}; making another",
                    gone_on.error().message()));
    (void)remove_kept(kept_digest(key_));
  } else if (kept_) {
    costs_.resume_s = seconds_since(start);
    story_.did("resume", costs_.resume_s);
  } else {
    tell_changes();
  }
}

// Why the machine of the last run does not do, if it is there.
void Runner::tell_changes() {
  const auto machines = kept_machines();
  for (const KeptInfo& one : machines ? *machines : std::vector<KeptInfo>()) {
    if (one.label == start_label(program_)) {
      changed_ = changed_parts(one.parts, key_);
      say("not the machine of the last run, for it differs in " + shortened(changed_));
      return;
    }
  }
}

Result<void> Runner::go_on_from(std::shared_ptr<KeptMachine> kept) {
  progress_("resuming the kept machine");
  auto notes = decode_start_notes(kept->notes());
  if (!notes) {
    return fail(ErrorCode::kCorrupt, fmt::format("reading the notes of {}", kept->path()));
  }
  SPORE_ASSIGN(spore_, session_.load(kept->path()));
  notes_ = std::move(*notes);
  kept_ = std::move(kept);
  return {};
}

// An exit status when the program ended before its fixture point.
Result<std::optional<int>> Runner::start() {
  if (kept_) {
    start_again();
    return std::nullopt;
  }
  SPORE_TRY(set_up());
  SPORE_ASSIGN(const auto ended, reach_fixture_point());
  if (!ended) {
    SPORE_TRY(capture());
  }
  return ended;
}

// What was said until the capture is said in every run.
void Runner::start_again() {
  sink_.err(notes_.errors);
  sink_.out(notes_.setup_output);
  if (program_.has_fixture_point) {
    parent_reader_ = framework_->reader(list_);
    parent_reader_->feed(notes_.printed);
  }
}

Result<void> Runner::set_up() {
  // The whole file, not only what a listing touched: every child shares these pages.
  ExecRequest warm;
  warm.argv = {"sh", "-c", "exec cat \"$0\" > /dev/null", program_.path};
  SPORE_TRY(run_command(*parent_, warm, ending_.patience(options_.timeout), "cat"));
  if (options_.setup.empty()) {
    return {};
  }
  progress_("setting up");
  const auto start = Clock::now();
  ExecRequest setup;
  setup.argv = {"sh", "-c", options_.setup};
  setup.env = environment();
  setup.workdir = options_.workdir;
  SPORE_ASSIGN(
      const CommandResult result,
      run_command(*parent_, setup, ending_.patience(options_.timeout), "the --setup command"));
  sink_.err(result.errors);
  sink_.out(result.out);
  notes_.errors = result.errors;
  notes_.setup_output = result.out;
  if (result.exit.status() != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the --setup command {}: {}", describe(result.exit), options_.setup));
  }
  costs_.setup_s = seconds_since(start);
  story_.did("set-up", costs_.setup_s);
  return {};
}

// Starts a program that has a fixture point, and waits until it is there. An exit status when it
// ended before.
Result<std::optional<int>> Runner::reach_fixture_point() {
  if (!program_.has_fixture_point) {
    return std::nullopt;
  }
  progress_("setting up the global test environments");
  const auto start = Clock::now();
  const RunRequest all{.report_path = guest_report_path(0), .random_seed = random_seed_};
  ExecRequest until_there = request(framework_->run_arguments(all));
  set_profile_variables(options_.profiles, guest_profiles("0"), until_there.env);
  SPORE_ASSIGN(const auto process, parent_->exec(until_there));
  parent_reader_ = framework_->reader(list_);
  std::string& text = notes_.printed;
  for (;;) {
    const auto event = process->next_event(ending_.patience(options_.timeout));
    if (!event) {
      sink_.out(text);
      return fail(
          ErrorCode::kTimedOut,
          fmt::format("{} did not reach its fixture point within --timeout; it is where the "
                      "set-up of the global test environments ends",
                      program_.path));
    }
    if (const auto* output = std::get_if<Output>(&*event)) {
      if (output->stream == OutputStream::kStderr) {
        sink_.err(output->data);
        notes_.errors += output->data;
      } else {
        text += output->data;
        parent_reader_->feed(output->data);
      }
    } else if (std::holds_alternative<AtFixturePoint>(*event)) {
      notes_.inherited = process->id();
      if (notes_.is_profiled) {  // what children write is to be theirs alone
        ExecRequest aside;
        // clang's runtime has made the directory, and does so once only.
        aside.argv = {"sh", "-c", R"(mv "$0" "$1" && mkdir "$0")", guest_profiles("0"),
                      guest_profiles("set-up")};
        SPORE_ASSIGN(const CommandResult moved,
                     run_command(*parent_, aside, ending_.patience(options_.timeout), "mv"));
        if (moved.exit.status() != 0) {
          return fail(ErrorCode::kInternal,
                      fmt::format("putting the coverage of the set-up aside: {}", moved.errors));
        }
      }
      costs_.setup_s += seconds_since(start);
      story_.did("fixture point", seconds_since(start));
      return std::nullopt;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      sink_.out(text);
      say(
          fmt::format("{} {} before its fixture point, in the set-up of its global test "
                      "environments: no child was made",
                      program_.path, describe(*exited)));
      return 1;
    } else {
      sink_.out(text);
      const MachineEnd& end = std::get<Lost>(*event).end;
      return fail(ErrorCode::kMachineEnded,
                  fmt::format("the machine was lost before the fixture point: {} ({})\n{}",
                              to_string(end.reason), end.detail, end.console_tail));
    }
  }
}

Result<void> Runner::capture() {
  progress_("capturing the machine");
  const auto start = Clock::now();
  SPORE_ASSIGN(spore_, parent_->capture({}));
  costs_.capture_ms = seconds_since(start) * 1000;
  story_.did("capture", seconds_since(start));
  parent_.reset();
  return {};
}

// For the next run that is given the same. A failure to do so is none of the tests'.
Result<void> Runner::keep() {
  if (key_.empty() || kept_ || !spore_) {
    return {};
  }
  if (ending_.is_late()) {
    return fail(ErrorCode::kTimedOut,
                "the machine is not kept for the next run: the time of --timeout-all is over");
  }
  progress_("keeping the machine for the next run");
  const auto start = Clock::now();
  SPORE_ASSIGN(const KeptInfo kept,
               keep_machine(start_label(program_), key_, encode(notes_),
                            [this](const std::string& path) -> Result<void> {
                              SPORE_TRY(spore_->save(path, {.annotations = {}, .whole = true}));
                              return {};
                            }));
  costs_.kept_bytes = kept.bytes;
  costs_.keep_s = seconds_since(start);
  story_.did("keeping", costs_.keep_s);
  return {};
}

}  // namespace spore::gtest_runner
