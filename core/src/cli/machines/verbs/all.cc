#include "cli/command.h"
#include "cli/machines/verbs/verbs.h"

namespace spore::cli {

void add_machine_commands(CLI::App& app, Context& context) {
  machines::add_create_command(app, context);
  machines::add_exec_command(app, context);
  machines::add_cp_command(app, context);
  machines::add_capture_command(app, context);
  machines::add_suspend_command(app, context);
  machines::add_logs_command(app, context);
  machines::add_list_command(app, context);
  machines::add_rm_command(app, context);
  machines::add_monitor_command(app, context);
}

}  // namespace spore::cli
