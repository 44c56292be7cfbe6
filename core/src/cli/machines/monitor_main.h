// The program of a machine's monitor: `spore monitor NAME`, started by `spore create` (launch.h).
#pragma once

namespace spore::cli::machines {

// Boots the machine that the creator orders and serves it to its end; the exit status.
int run_monitor();

}  // namespace spore::cli::machines
