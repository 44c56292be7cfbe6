// `spore exec`: a command in a machine that runs.
#include <fmt/format.h>

#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "cli/json_output.h"
#include "cli/machines/monitor_client.h"
#include "cli/machines/verbs/verbs.h"
#include "cli/process_io.h"
#include "cli/run_arguments.h"
#include "session/ended.h"

namespace spore::cli::machines {
namespace {

// Of each stream, in --json.
constexpr std::size_t kMaxCollected = 16 * 1024 * 1024;

struct ExecOptions {
  std::string name;
  CommandWords command;
  bool input = false;
  bool json = false;
};

struct Collected {
  std::string out;
  std::string err;
  bool truncated = false;
};

Result<ExecRequest> request_of(const ExecOptions& options) {
  if (options.command.terminal && options.json) {
    return fail(ErrorCode::kInvalidArgument,
                "running a command with --tty and --json: its terminal cannot be put into a JSON "
                "document; leave one of them out");
  }
  return exec_request(options.command);
}

Followed collect(Process& process, bool input, Collected& collected) {
  std::optional<InputPump> pump;
  if (input) {
    pump.emplace(process);
  } else {
    static_cast<void>(process.close_stdin());
  }
  Followed followed;
  while (auto event = process.next_event(std::nullopt)) {
    if (const auto* output = std::get_if<Output>(&*event)) {
      std::string& text = output->stream == OutputStream::kStderr ? collected.err : collected.out;
      const std::size_t room = kMaxCollected - text.size();
      text.append(output->data, 0, room);
      collected.truncated = collected.truncated || output->data.size() > room;
    } else if (const auto* exited = std::get_if<Exited>(&*event)) {
      followed.exited = *exited;
      break;
    } else if (auto* lost = std::get_if<Lost>(&*event)) {
      followed.outcome = Followed::Outcome::kLost;
      followed.end = std::move(lost->end);
      break;
    }
  }
  return followed;
}

nlohmann::json to_json(const Exited& exited, const Collected& collected) {
  return {{"status", exited.status()},       {"code", exited.code},
          {"signal", exited.signal},         {"out_of_memory", exited.out_of_memory},
          {"stdout", collected.out},         {"stderr", collected.err},
          {"truncated", collected.truncated}};
}

int conclude(const Followed& followed, bool killed, const ExecOptions& options) {
  if (followed.exited.out_of_memory) {
    fmt::print(stderr,
               "spore: the command was killed: machine {} ran out of memory; create it with more "
               "--memory\n",
               options.name);
  }
  if (const auto status = status_of(followed, killed)) {
    return *status;
  }
  return report(session::ended_error(fmt::format("running a command in machine {}", options.name),
                                     followed.end),
                options.json);
}

int follow(const std::shared_ptr<ClientProcess>& process, SignalForwarder& signals,
           const ExecOptions& options) {
  Collected collected;
  Followed followed;
  {
    const RawTerminal raw(options.command.terminal && options.input);
    const auto give_up = [&process] { process->disconnect(); };
    signals.attach(*process, give_up);
    followed = options.json ? collect(*process, options.input, collected)
                            : follow_process(*process, options.input, give_up);
    signals.detach();
  }
  if (options.json && followed.outcome == Followed::Outcome::kExited) {
    print_json(to_json(followed.exited, collected));
  }
  return conclude(followed, signals.killed(), options);
}

int run(const ExecOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  SignalForwarder signals;
  const auto connect = [&]() -> Result<MonitorClient> {
    SPORE_ASSIGN(const Registry registry, Registry::open());
    return MonitorClient::connect(registry, options.name);
  };
  const auto request = request_of(options);
  if (!request) {
    return report(request.error(), options.json);
  }
  auto client = connect();
  if (!client) {
    return report(client.error(), options.json);
  }
  const auto process = client->exec(*request);
  if (!process) {
    const int own = report(process.error(), options.json);
    const int status = status_for_start(process.error());
    return status == kOwnError ? own : status;
  }
  return follow(*process, signals, options);
}

}  // namespace

void add_exec_command(CLI::App& app, Context& context) {
  CLI::App* exec = app.add_subcommand("exec", "Run a command in a machine that runs");
  auto options = std::make_shared<ExecOptions>();
  exec->add_flag("-i,--interactive", options->input, "Pass standard input on to it");
  add_command_options(*exec, options->command);
  exec->add_flag("--json", options->json,
                 "Print status, stdout and stderr as a JSON object when it has ended");
  exec->add_option("name", options->name, "The machine")->required();
  exec->add_option("command", options->command.argv, "The command and its arguments")->required();
  exec->positionals_at_end();
  exec->footer(
      "Answers the command's exit status (128 + N for signal N); 125 when spore itself fails "
      "(with\n"
      "--json, also as {\"error\": {\"code\", \"message\"}}), 126 when the command cannot be "
      "executed,\n127 when it is not found. The command ends with this program.\n"
      "Example:\n  spore exec -it web -- sh");
  exec->callback([options, &context] {
    auto& argv = options->command.argv;
    if (argv.size() > 1 && argv.front() == "--") {
      argv.erase(argv.begin());  // which parts it from the machine's name
    }
    context.status = run(*options);
  });
}

}  // namespace spore::cli::machines
