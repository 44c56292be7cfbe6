#include "agent/cgroups.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <vector>

#include "agent/files.h"

namespace spore::agent {
namespace {

constexpr std::string_view kMountPoint = "/sys/fs/cgroup";

std::vector<pid_t> pids_in(const std::string& directory) {
  std::vector<pid_t> pids;
  const auto text = read_file(directory + "/cgroup.procs");
  if (text) {
    std::istringstream lines(*text);
    for (pid_t pid = 0; lines >> pid;) {
      pids.push_back(pid);
    }
  }
  return pids;
}

// The value after `key` in a flat keyed file ("oom_kill 1"), 0 if it is not there.
std::uint64_t keyed_value(std::string_view text, std::string_view key) {
  std::istringstream lines{std::string(text)};
  std::string name;
  std::uint64_t value = 0;
  while (lines >> name >> value) {
    if (name == key) {
      return value;
    }
  }
  return 0;
}

// The value in bytes of a line of /proc/meminfo ("MemAvailable:   56968 kB"), 0 if it is not there.
std::uint64_t meminfo_value(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) {
    return 0;
  }
  std::uint64_t kib = 0;
  std::istringstream(std::string(text.substr(at + key.size()))) >> kib;
  return kib << 10;
}

// What the workload may take of the memory that is free now. Without a limit a workload that wants
// more than there is does not end: the kernel goes on evicting and reading back the programs'
// pages. That slabs can be reclaimed is the kernel's hope: just after the boot they are in use, and
// a limit that counts on them is never reached.
std::optional<std::uint64_t> workload_limit() {
  constexpr std::uint64_t kKept = std::uint64_t{4} << 20;
  const std::string text = read_file("/proc/meminfo").value_or("");
  const std::uint64_t available = meminfo_value(text, "MemAvailable:");
  const std::uint64_t slabs = meminfo_value(text, "SReclaimable:");
  const std::uint64_t kept = slabs + available / 32 + kKept;
  return available > 0 ? std::optional(available - std::min(kept, available / 2)) : std::nullopt;
}

}  // namespace

Result<Cgroups> Cgroups::create(const std::string& root) {
  Cgroups cgroups;
  cgroups.root_ = root;
  if (!root.starts_with(kMountPoint)) {
    return fail(ErrorCode::kInvalidArgument,
                "setting up cgroups: " + root + " is not below " + std::string(kMountPoint));
  }
  cgroups.inner_path_ = root.substr(kMountPoint.size());
  // Without the memory controller all works but the limit and the report of an out-of-memory kill.
  static_cast<void>(
      write_existing(std::string(kMountPoint) + "/cgroup.subtree_control", "+memory"));
  SPORE_TRY(make_directories(root));
  static_cast<void>(write_existing(root + "/cgroup.subtree_control", "+memory"));
  if (const auto limit = workload_limit()) {
    static_cast<void>(write_existing(root + "/memory.max", std::to_string(*limit)));
  }
  cgroups.freeze_.reset(::open((root + "/cgroup.freeze").c_str(), O_WRONLY | O_CLOEXEC));
  cgroups.events_.reset(::open((root + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!cgroups.freeze_.valid() || !cgroups.events_.valid()) {
    return fail(path_error("opening cgroup.freeze and cgroup.events in", root, errno));
  }
  return cgroups;
}

std::string Cgroups::directory(std::uint64_t id) const {
  return root_ + "/" + std::to_string(id);
}

Result<std::string> Cgroups::add(std::uint64_t id) {
  removed_.erase(id);
  SPORE_TRY(make_directories(directory(id)));
  return directory(id) + "/cgroup.procs";
}

void Cgroups::remove(std::uint64_t id) {
  if (::rmdir(directory(id).c_str()) != 0 && errno == EBUSY) {
    removed_.insert(id);
  }
}

void Cgroups::remove_empty() {
  std::erase_if(removed_, [this](std::uint64_t id) {
    return ::rmdir(directory(id).c_str()) == 0 || errno != EBUSY;
  });
}

void Cgroups::signal(std::uint64_t id, int number) const {
  if (number == SIGKILL && write_existing(directory(id) + "/cgroup.kill", "1")) {
    return;
  }
  for (const pid_t pid : pids_in(directory(id))) {
    ::kill(pid, number);
  }
}

bool Cgroups::ran_out_of_memory(std::uint64_t id) const {
  const auto text = read_file(directory(id) + "/memory.events");
  return text && keyed_value(*text, "oom_kill") > 0;
}

std::optional<std::uint64_t> Cgroups::owner_of(pid_t pid) const {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/cgroup");
  const std::string prefix = "0::" + inner_path_ + "/";
  const std::size_t start = text ? text->find(prefix) : std::string::npos;
  if (start == std::string::npos) {
    return std::nullopt;
  }
  std::uint64_t id = 0;
  const char* first = text->data() + start + prefix.size();
  const auto [end, error] = std::from_chars(first, text->data() + text->size(), id);
  return error == std::errc() ? std::optional(id) : std::nullopt;
}

void Cgroups::freeze() {
  [[maybe_unused]] const auto written = ::pwrite(freeze_.get(), "1", 1, 0);
}

void Cgroups::thaw() {
  [[maybe_unused]] const auto written = ::pwrite(freeze_.get(), "0", 1, 0);
}

bool Cgroups::frozen() const {
  std::array<char, 128> buffer;
  const auto got = ::pread(events_.get(), buffer.data(), buffer.size(), 0);
  return got > 0 && keyed_value({buffer.data(), static_cast<std::size_t>(got)}, "frozen") == 1;
}

std::string Cgroups::unfrozen() const {
  // The kernel tells it per group, so all of a group that is not frozen are named.
  std::string names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_, error)) {
    const auto events = read_file(entry.path().string() + "/cgroup.events");
    if (!events || keyed_value(*events, "frozen") == 1) {
      continue;
    }
    for (const pid_t pid : pids_in(entry.path().string())) {
      const auto command = read_file("/proc/" + std::to_string(pid) + "/comm");
      names += names.empty() ? "" : ", ";
      names += std::to_string(pid);
      if (command && !command->empty()) {
        names += " (" + command->substr(0, command->size() - 1) + ")";
      }
    }
  }
  return names;
}

}  // namespace spore::agent
