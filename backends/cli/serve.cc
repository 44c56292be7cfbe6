// `spore serve --stdio`: this host's KVM for a client at the other end of standard input and
// output.
#include <unistd.h>

#include <csignal>
#include <memory>

#include "base/unique_fd.h"
#include "cli/command.h"
#include "kvm/kvm_hypervisor.h"
#include "nest/environment.h"
#include "session/local_host.h"
#include "session/serve.h"

namespace spore::cli {
namespace {

Result<int> serve_stdio() {
  session::LocalHostOptions options;
  SPORE_ASSIGN(options.hypervisor, kvm::create_kvm_hypervisor());
  SPORE_ASSIGN(options.agent_path, nest::helper_program("spore-agent"));
  session::LocalHost host(std::move(options));
  // What anything prints by mistake must not get into the stream.
  const base::UniqueFd out(dup(STDOUT_FILENO));
  dup2(STDERR_FILENO, STDOUT_FILENO);
  return session::serve(host, STDIN_FILENO, out.get());
}

int run_serve() {
  std::signal(SIGPIPE, SIG_IGN);
  const auto status = serve_stdio();
  return status ? *status : report(status.error());
}

}  // namespace

void add_serve_command(CLI::App& app, Context& context) {
  CLI::App* serve = app.add_subcommand(
      "serve", "Run machines for a client at the other end of a stream (used by the engines)");
  serve->group("");  // nobody types it
  auto stdio = std::make_shared<bool>(false);
  serve->add_flag("--stdio", *stdio, "Speak on standard input and output")->required();
  serve->callback([stdio, &context] { context.status = run_serve(); });
}

}  // namespace spore::cli
