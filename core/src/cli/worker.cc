// `spore worker`: a process that restores a spore, serves one request in it, and is restored again,
// from the same spore or another. Requests and answers are JSON, one a line.
#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/hex.h"
#include "cli/command.h"
#include "cli/json_output.h"
#include "session/ended.h"
#include "spore/session.h"
#include "wire/machine_json.h"

namespace spore::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMaxRequest = 8 * 1024 * 1024;
constexpr std::size_t kMaxOutput = 64 * 1024 * 1024;  // of one request, in all

struct WorkerOptions {
  std::string engine = "auto";
};

struct Request {
  nlohmann::json id;
  std::string spore;
  ExecRequest exec;
  std::string input;
  ForkParameters parameters;
  std::optional<Milliseconds> timeout;
};

struct Served {
  Exited exited;
  std::string out;
  std::string err;
};

// Throws nlohmann's exceptions for what is no request.
Request parse_request(const std::string& line) {
  static const std::set<std::string> kKnown = {"id",   "spore", "argv", "env",     "workdir",
                                               "user", "stdin", "name", "timeout", "parameters"};
  const auto json = nlohmann::json::parse(line);
  for (const auto& [key, value] : json.items()) {
    if (!kKnown.contains(key)) {
      throw std::invalid_argument("a request has no \"" + key + "\"");
    }
  }
  Request request;
  request.id = json.value("id", nlohmann::json());
  request.spore = json.at("spore");
  request.exec.argv = json.at("argv").get<std::vector<std::string>>();
  request.exec.env = json.value("env", std::map<std::string, std::string>{});
  request.exec.workdir = json.value("workdir", "/");
  request.exec.user = json.value("user", "");
  request.input = json.value("stdin", "");
  request.parameters.name = json.value("name", "");
  request.parameters.user = json.value("parameters", std::map<std::string, std::string>{});
  if (json.contains("timeout")) {
    request.timeout =
        Milliseconds{static_cast<std::int64_t>(json.at("timeout").get<double>() * 1000)};
  }
  return request;
}

class Worker {
 public:
  explicit Worker(Session& session) : session_(session) {}
  nlohmann::json answer(const Request& request);

 private:
  Result<Machine*> restore(const Request& request, nlohmann::json& timings);
  Result<Served> serve(Machine& machine, const Request& request);

  Session& session_;
  std::shared_ptr<Spore> spore_;  // that machine_ came from
  std::unique_ptr<Machine> machine_;
};

// The machine of the request before is put back where that is possible: same spore or a relative.
Result<Machine*> Worker::restore(const Request& request, nlohmann::json& timings) {
  SPORE_ASSIGN(auto spore, session_.load(request.spore));
  timings["load_us"] = spore->loaded()->load_us;
  timings["backing"] = spore->loaded()->backing;
  if (machine_) {
    SPORE_ASSIGN(machine_, spore->reset(*machine_, request.parameters));
  } else {
    SPORE_ASSIGN(auto machines, spore->fork({request.parameters}));
    machine_ = std::move(machines.front());
  }
  spore_ = std::move(spore);
  timings["restore"] = machine_->fork_timings();
  return machine_.get();
}

Result<Served> Worker::serve(Machine& machine, const Request& request) {
  SPORE_ASSIGN(const auto process, machine.exec(request.exec));
  // Beside the reading of its output: neither may wait for the other.
  std::thread feeder([&process, &request] {
    if (request.input.empty() || process->write_stdin(request.input)) {
      static_cast<void>(process->close_stdin());
    }
  });
  const auto finish = [&]() -> Result<Served> {
    Served served;
    const auto start = SteadyClock::now();
    for (;;) {
      std::optional<Milliseconds> left;
      if (request.timeout) {
        left = std::max(
            *request.timeout - std::chrono::duration_cast<Milliseconds>(SteadyClock::now() - start),
            Milliseconds{0});
      }
      const auto event = process->next_event(left);
      if (!event) {
        return fail(ErrorCode::kTimedOut, "serving the request: it did not end in time");
      }
      if (const auto* output = std::get_if<Output>(&*event)) {
        (output->stream == OutputStream::kStderr ? served.err : served.out) += output->data;
        if (served.out.size() + served.err.size() > kMaxOutput) {
          return fail(
              ErrorCode::kResourceExhausted,
              fmt::format("serving the request: it printed more than {} bytes", kMaxOutput));
        }
      } else if (const auto* exited = std::get_if<Exited>(&*event)) {
        served.exited = *exited;
        return served;
      } else if (const auto* lost = std::get_if<Lost>(&*event)) {
        return fail(session::ended_error("serving the request", lost->end));
      } else {
        static_cast<void>(process->release_fixture_point());
      }
    }
  };
  auto served = finish();
  if (!served) {
    machine.close();  // wakes the feeder
  }
  feeder.join();
  return served;
}

// Bytes that are no UTF-8 come as hexadecimal, under another name.
void put_bytes(nlohmann::json& answer, const std::string& name, const std::string& bytes) {
  try {
    static_cast<void>(nlohmann::json(bytes).dump());
    answer[name] = bytes;
  } catch (const nlohmann::json::exception&) {
    answer[name + "_hex"] = base::to_hex(bytes);
  }
}

nlohmann::json Worker::answer(const Request& request) {
  nlohmann::json answer = {{"id", request.id}};
  nlohmann::json timings = nlohmann::json::object();
  const auto start = SteadyClock::now();
  const auto attempt = [&]() -> Result<Served> {
    SPORE_ASSIGN(Machine * machine, restore(request, timings));
    const auto ready = SteadyClock::now();
    timings["restore_us"] = base::microseconds_between(start, ready);
    auto served = serve(*machine, request);
    timings["serve_us"] = base::microseconds_since(ready);
    return served;
  };
  const auto served = attempt();
  if (served) {
    answer["status"] = served->exited.status();
    put_bytes(answer, "stdout", served->out);
    put_bytes(answer, "stderr", served->err);
  } else {
    answer["error"] = error_to_json(served.error());
    machine_.reset();  // whatever is left of it
  }
  answer["timings"] = std::move(timings);
  return answer;
}

Result<int> work(const WorkerOptions& options) {
  SPORE_ASSIGN(const auto session,
               open_session({.engine = options.engine, .progress = show_progress}));
  Worker worker(*session);
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty()) {
      continue;
    }
    nlohmann::json answer;
    try {
      if (line.size() > kMaxRequest) {
        throw std::invalid_argument(fmt::format("a request has at most {} bytes", kMaxRequest));
      }
      answer = worker.answer(parse_request(line));
    } catch (const std::exception& error) {
      answer = {
          {"error", error_to_json(Error(ErrorCode::kInvalidArgument,
                                        fmt::format("reading the request: {}", error.what())))}};
    }
    std::cout << answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  }
  return 0;
}

}  // namespace

void add_worker_command(CLI::App& app, Context& context) {
  CLI::App* command =
      app.add_subcommand("worker", "Serve requests, each in a machine put back to its spore");
  auto options = std::make_shared<WorkerOptions>();
  add_engine_option(*command, options->engine);
  command->footer(
      "Reads requests from standard input and answers on standard output, a JSON document a line:\n"
      "  {\"spore\": \"warm\", \"argv\": [\"cat\", \"/etc/hostname\"]}\n"
      "  {\"status\": 0, \"stdout\": \"...\", \"stderr\": \"\", \"timings\": {...}}\n"
      "Further keys of a request: id, env, workdir, user, stdin, timeout (seconds), name,\n"
      "parameters. A request that fails is answered with an error, and the next one is read.");
  command->callback([options, &context] {
    std::signal(SIGPIPE, SIG_IGN);
    end_on_signals();
    const auto status = work(*options);
    context.status = status ? *status : report(status.error());
  });
}

}  // namespace spore::cli
