// Boot steps of a machine: kernel file systems, modules, the kernel command line, waiting for
// devices. Shared by the agent and by other inits of this project.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::agent {

// Mounts `source` at `target`, making the directory. EBUSY (something is mounted there) is fine.
Result<void> mount_at(const std::string& source, const std::string& target, const std::string& type,
                      unsigned long flags = 0, const std::string& data = "");

// /proc, /sys, /dev and /run, as an initramfs needs them first.
Result<void> mount_kernel_filesystems();
// devpts, /dev/shm, /tmp, cgroup v2 and the links in /dev, in the final root.
Result<void> mount_user_filesystems();

// Loads every *.ko of the directory, in the order of their names. One that is loaded already is
// fine; a missing directory is an empty one.
Result<void> load_modules(const std::string& directory);

// The value of `key=` on /proc/cmdline.
Result<std::optional<std::string>> kernel_argument(std::string_view key);

// Brings the loopback interface up, raises the limit of open files, and leaves sanitizers the
// addresses of their shadow memory.
Result<void> prepare_network_and_limits();

// Waits for what drivers announce. Opened before the modules are loaded, it misses nothing.
class DeviceWaiter {
 public:
  static Result<DeviceWaiter> create();
  // Asks `ready` again at each kernel event; false after `limit`.
  bool wait(const std::function<bool()>& ready, std::chrono::milliseconds limit);

 private:
  explicit DeviceWaiter(base::UniqueFd events) : events_(std::move(events)) {}
  base::UniqueFd events_;
};

}  // namespace spore::agent
