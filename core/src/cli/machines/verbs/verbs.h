// The verbs of named machines, each in the file of its name. All of them have --json, and answer
// 125 (kOwnError) when Spore itself fails.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace spore::cli::machines {

inline constexpr const char* kStatusFooter =
    "Answers 0, or 125 when spore itself fails (with --json, also as {\"error\": {\"code\", "
    "\"message\"}}).\n";

void add_create_command(CLI::App& app, Context& context);
void add_exec_command(CLI::App& app, Context& context);
void add_capture_command(CLI::App& app, Context& context);
void add_suspend_command(CLI::App& app, Context& context);
void add_logs_command(CLI::App& app, Context& context);
void add_cp_command(CLI::App& app, Context& context);
void add_list_command(CLI::App& app, Context& context);
void add_rm_command(CLI::App& app, Context& context);
// Hidden: what `spore create` starts.
void add_monitor_command(CLI::App& app, Context& context);

}  // namespace spore::cli::machines
