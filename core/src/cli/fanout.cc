// `spore fanout`: the children of a spore, on disk or made on the spot, run side by side, with each
// line of their output marked by whose it is.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "cli/json_output.h"
#include "cli/process_io.h"
#include "cli/run_arguments.h"
#include "session/ended.h"
#include "snapshot/directory.h"

namespace spore::cli {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

constexpr std::uint32_t kMaxChildren = 100'000;

struct FanoutOptions {
  std::string directory;
  std::uint32_t count = 0;
  std::uint32_t parallel = 1;
  std::string bound;
  std::string engine = "auto";
  bool json = false;
  std::vector<std::string> argv;
};

// One machine to be run: a spore on disk, and who it is to be.
struct Child {
  std::string name;
  std::string directory;
  ForkParameters parameters;
  bool named_on_disk = false;  // the spore says who it is to be
};

struct Outcome {
  int status = kOwnError;
  std::string ended = "exited";  // or timed out, lost, failed
  std::string message;
};

// Whole lines of several machines, one at a time.
class MarkedOutput {
 public:
  MarkedOutput(std::mutex& mutex, std::string mark, bool to_stderr)
      : mutex_(mutex), mark_(std::move(mark)), to_stderr_(to_stderr) {}

  void write(OutputStream stream, std::string_view bytes) {
    std::string& line = lines_[stream == OutputStream::kStderr ? 1 : 0];
    for (const char byte : bytes) {
      line += byte;
      if (byte == '\n' || line.size() > kMaxLine) {
        put(stream, line);
      }
    }
  }
  void finish() {
    for (const auto stream : {OutputStream::kStdout, OutputStream::kStderr}) {
      std::string& line = lines_[stream == OutputStream::kStderr ? 1 : 0];
      if (!line.empty()) {
        line += '\n';
        put(stream, line);
      }
    }
  }

 private:
  static constexpr std::size_t kMaxLine = 64 * 1024;

  void put(OutputStream stream, std::string& line) {
    const int fd = stream == OutputStream::kStderr || to_stderr_ ? STDERR_FILENO : STDOUT_FILENO;
    const std::lock_guard lock(mutex_);
    write_all(fd, fmt::format("{} | {}", mark_, std::exchange(line, {})));
  }

  std::mutex& mutex_;
  const std::string mark_;
  const bool to_stderr_;
  std::array<std::string, 2> lines_;
};

// The spore itself `count` times; or each spore in the directory, by name.
Result<std::vector<Child>> find_children(const FanoutOptions& options) {
  std::error_code error;
  const fs::path directory(options.directory);
  std::vector<Child> children;
  if (fs::exists(directory / snapshot::kManifestFile, error)) {
    const std::uint32_t count = options.count == 0 ? 1 : options.count;
    for (std::uint32_t i = 0; i < count; ++i) {
      Child child{fmt::format("{:06}", i), options.directory, {}, options.count == 0};
      child.parameters.child_index = child.parameters.shard_index = i;
      child.parameters.child_count = child.parameters.shard_count = count;
      children.push_back(std::move(child));
    }
    return children;
  }
  if (options.count != 0) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("reading --count {}: {} is no spore",
                                                         options.count, options.directory));
  }
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (fs::exists(entry.path() / snapshot::kManifestFile, error)) {
      children.push_back(
          {entry.path().filename().string(), entry.path().string(), {}, /*named_on_disk=*/true});
    }
  }
  if (children.empty()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("running the children in {}: there is no spore in it: make some with "
                            "spore fork SPORE --count N --out {}",
                            options.directory, options.directory));
  }
  std::sort(children.begin(), children.end(),
            [](const Child& left, const Child& right) { return left.name < right.name; });
  return children;
}

class Fanout {
 public:
  Fanout(const FanoutOptions& options, Session& session, std::optional<Milliseconds> bound)
      : options_(options), session_(session), bound_(bound) {}

  std::vector<Outcome> run(const std::vector<Child>& children);

 private:
  Outcome run_one(const Child& child);
  Result<std::shared_ptr<Process>> start(const Spore& spore, Machine& machine);
  Outcome follow(Process& process, const std::string& name);

  const FanoutOptions& options_;
  Session& session_;
  const std::optional<Milliseconds> bound_;  // of each, from when it runs
  std::mutex output_mutex_;
};

std::vector<Outcome> Fanout::run(const std::vector<Child>& children) {
  std::vector<Outcome> outcomes(children.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < children.size(); i = next++) {
      outcomes[i] = run_one(children[i]);
    }
  };
  const std::size_t workers = std::min<std::size_t>(
      children.size(), options_.parallel == 0 ? children.size() : options_.parallel);
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < workers; ++i) {
    threads.emplace_back(work);
  }
  work();
  for (std::thread& thread : threads) {
    thread.join();
  }
  return outcomes;
}

Outcome Fanout::run_one(const Child& child) {
  const auto attempt = [&]() -> Result<Outcome> {
    SPORE_ASSIGN(const auto spore, session_.load(child.directory));
    ForkParameters parameters = child.parameters;
    if (child.named_on_disk) {
      parameters = spore->loaded()->fork.value_or(ForkParameters{});
    }
    SPORE_ASSIGN(const auto machines, spore->fork({parameters}));
    SPORE_ASSIGN(const auto process, start(*spore, *machines.front()));
    return follow(*process, child.name);
  };
  auto outcome = attempt();
  if (outcome) {
    return std::move(*outcome);
  }
  const std::lock_guard lock(output_mutex_);
  write_all(STDERR_FILENO, fmt::format("{} | spore: {}\n", child.name, outcome.error().message()));
  return {kOwnError, "failed", outcome.error().message()};
}

Result<std::shared_ptr<Process>> Fanout::start(const Spore& spore, Machine& machine) {
  if (!options_.argv.empty()) {
    return machine.exec({.argv = options_.argv});
  }
  const auto processes = spore.processes();
  if (processes.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "running a child: no process lived in the spore: give a command after --");
  }
  return machine.process(processes.front());
}

Outcome Fanout::follow(Process& process, const std::string& name) {
  MarkedOutput output(output_mutex_, name, options_.json);
  const auto start = SteadyClock::now();
  for (;;) {
    std::optional<Milliseconds> left;
    if (bound_) {
      const auto passed = std::chrono::duration_cast<Milliseconds>(SteadyClock::now() - start);
      left = std::max(*bound_ - passed, Milliseconds{0});
    }
    const auto event = process.next_event(left);
    if (!event || (left && left->count() == 0)) {
      output.finish();
      return {0, "timed out", {}};
    }
    if (const auto* bytes = std::get_if<Output>(&*event)) {
      output.write(bytes->stream, bytes->data);
    } else if (std::holds_alternative<AtFixturePoint>(*event)) {
      static_cast<void>(process.release_fixture_point());
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      output.finish();
      return {exited->status(), "exited", {}};
    } else {
      output.finish();
      return {kOwnError, "lost", session::describe_end(std::get<Lost>(*event).end)};
    }
  }
}

Result<int> fanout(const FanoutOptions& options) {
  std::optional<Milliseconds> bound;
  if (!options.bound.empty()) {
    SPORE_ASSIGN(bound, parse_duration(options.bound, "--for"));
  }
  SPORE_ASSIGN(const auto children, find_children(options));
  SPORE_ASSIGN(const auto session,
               open_session({.engine = options.engine, .progress = show_progress}));
  const auto outcomes = Fanout(options, *session, bound).run(children);
  int failed = 0;
  auto document = nlohmann::json::array();
  for (std::size_t i = 0; i < children.size(); ++i) {
    failed += outcomes[i].status != 0 ? 1 : 0;
    document.push_back({{"child", children[i].name},
                        {"status", outcomes[i].status},
                        {"ended", outcomes[i].ended},
                        {"message", outcomes[i].message}});
    if (!options.json && outcomes[i].status != 0) {
      fmt::print(stderr, "spore: {} {} with status {}\n", children[i].name, outcomes[i].ended,
                 outcomes[i].status);
    }
  }
  if (options.json) {
    print_json({{"children", document}, {"failed", failed}});
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_fanout_command(CLI::App& app, Context& context) {
  CLI::App* command = app.add_subcommand("fanout", "Run the children of a spore side by side");
  auto options = std::make_shared<FanoutOptions>();
  command
      ->add_option("directory", options->directory,
                   "A folder of spores, as `spore fork` makes it, or one spore")
      ->required();
  command
      ->add_option("-n,--count", options->count, "Of one spore: so many children, made on the spot")
      ->check(CLI::Range(1U, kMaxChildren));
  command->add_flag("--parallel{0}", options->parallel,
                    "All at the same time; --parallel=N: N at a time (default: one)");
  command->add_option("--for", options->bound, "End each after it ran for this time, such as 20s");
  add_engine_option(*command, options->engine);
  command->add_flag("--json", options->json,
                    "A document about it on standard output; output goes to standard error");
  command->add_option("command", options->argv,
                      "After --, a command for each (default: follow what lived at the capture)");
  command->footer(
      "Each line of output is marked with its child's name. Status 0 if each child ended with 0,\n"
      "or was still running at the end of --for; 1 if one did not; 125 when spore itself fails.");
  command->callback([options, &context] {
    std::signal(SIGPIPE, SIG_IGN);
    end_on_signals();
    const auto status = fanout(*options);
    context.status = status ? *status : report(status.error(), options->json);
  });
}

}  // namespace spore::cli
