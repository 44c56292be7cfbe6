// The nest's private directory: sockets, locks, state and the console of the one nest of this user.
// $SPORE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/spore, else /tmp/spore-<uid>.
#pragma once

#include <string>
#include <string_view>

#include "base/file_lock.h"
#include "spore/result.h"

namespace spore::nest {

using base::FileLock;

class RuntimeDir {
 public:
  // Where it is for this environment and user, without touching it.
  static std::string default_path();
  // Makes it (mode 0700) if needed, and checks owner and mode.
  static Result<RuntimeDir> open();
  static Result<RuntimeDir> open_at(std::string path);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string start_lock() const { return file("start.lock"); }
  [[nodiscard]] std::string alive_lock() const { return file("alive.lock"); }
  [[nodiscard]] std::string state() const { return file("nest.json"); }
  [[nodiscard]] std::string console() const { return file("console.log"); }
  [[nodiscard]] std::string last_console() const { return file("console.last.log"); }
  [[nodiscard]] std::string qemu_log() const { return file("qemu.log"); }
  [[nodiscard]] std::string port_socket(unsigned port) const;
  [[nodiscard]] std::string port_lock(unsigned port) const;

  // Removes what a nest leaves behind. Only with the start lock held and no nest alive.
  void remove_stale_files() const;

 private:
  explicit RuntimeDir(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] std::string file(std::string_view name) const;

  std::string path_;
};

}  // namespace spore::nest
