#include "nest/qemu.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <regex>

#include "base/unique_fd.h"

namespace spore::nest {
namespace {

constexpr std::string_view kProgram = "qemu-system-x86_64";

// Older ones lock up when nested SVM guests run on several emulation threads.
constexpr int kFirstThreadedMajor = 10;

std::string find_in_path(std::string_view program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  while (!rest.empty()) {
    const auto end = std::min(rest.find(':'), rest.size());
    const auto candidate = fmt::format("{}/{}", rest.substr(0, end), program);
    if (end > 0 && access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

// A comma ends a value in QEMU's option lists unless it is doubled.
std::string option_value(std::string_view value) {
  std::string text;
  for (const char character : value) {
    text.append(character == ',' ? 2 : 1, character);
  }
  return text;
}

Result<std::string> output_of(const std::string& program, const char* argument) {
  const auto attempted = fmt::format("running {} {}", program, argument);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::array<char*, 3> argv = {const_cast<char*>(program.c_str()), const_cast<char*>(argument),
                               nullptr};
  pid_t pid = -1;
  const int error = posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return fail(Error::from_errno(error, attempted));
  }
  writer.reset();
  std::string output;
  std::array<char, 4096> buffer;
  for (ssize_t n; (n = read(reader.get(), buffer.data(), buffer.size())) != 0;) {
    if (n > 0) {
      output.append(buffer.data(), static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      break;
    }
  }
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return output;
}

}  // namespace

std::string QemuVersion::text() const {
  return fmt::format("{}.{}.{}", major, minor, micro);
}

Result<QemuVersion> parse_qemu_version(std::string_view output) {
  static const std::regex kPattern(R"(QEMU emulator version (\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?)");
  std::match_results<std::string_view::const_iterator> match;
  if (!std::regex_search(output.begin(), output.end(), match, kPattern)) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("reading QEMU's version: \"{}\" does not name one",
                            output.substr(0, std::min<std::size_t>(output.find('\n'), 80))));
  }
  return QemuVersion{.major = std::stoi(match[1]),
                     .minor = std::stoi(match[2]),
                     .micro = match[3].matched ? std::stoi(match[3]) : 0};
}

Result<Qemu> find_qemu() {
  const char* given = std::getenv("SPORE_QEMU");
  Qemu qemu;
  qemu.path = given != nullptr && *given != '\0' ? given : find_in_path(kProgram);
  if (qemu.path.empty()) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("looking for {}: it is not in PATH; install the package "
                            "qemu-system-x86 (10.0 or newer is best), or set SPORE_QEMU",
                            kProgram));
  }
  SPORE_ASSIGN(const std::string output, output_of(qemu.path, "--version"));
  auto version = parse_qemu_version(output);
  if (!version) {
    return fail(version.error().with_context(qemu.path));
  }
  qemu.version = *version;
  return qemu;
}

std::vector<std::string> qemu_command(const Qemu& qemu, const NestMachine& machine) {
  const bool threaded = qemu.version.major >= kFirstThreadedMajor;
  std::vector<std::string> argv = {
      qemu.path,
      "-name",
      "spore-nest",
      "-nodefaults",
      "-no-user-config",
      "-no-reboot",
      "-display",
      "none",
      "-M",
      "q35,smm=off,vmport=off,hpet=off,sata=off,usb=off,graphics=off",
      "-accel",
      threaded ? "tcg,thread=multi" : "tcg,thread=single",
      "-cpu",
      "EPYC,+svm,+npt",
      "-smp",
      std::to_string(machine.cpus + 1),
      "-m",
      fmt::format("{}M", machine.memory_bytes >> 20),
      "-serial",
      fmt::format("file:{}", machine.console_log),
      "-kernel",
      machine.kernel,
      "-initrd",
      machine.initramfs,
      "-append",
      fmt::format("console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off tsc=reliable "
                  "no_timer_check spore.idle={} spore.ports={}",
                  machine.idle_seconds, machine.port_sockets.size()),
      "-virtfs",
      "local,path=/,security_model=none,multidevs=remap,mount_tag=spore-root",
      "-device",
      "virtio-rng-pci",
      "-device",
      fmt::format("virtio-serial-pci,max_ports={}", machine.port_sockets.size() + 1)};
  for (std::size_t port = 0; port < machine.port_sockets.size(); ++port) {
    argv.insert(argv.end(),
                {"-chardev",
                 fmt::format("socket,id=port{},path={},server=on,wait=off", port,
                             option_value(machine.port_sockets[port])),
                 "-device", fmt::format("virtserialport,chardev=port{0},name=spore.{0}", port)});
  }
  return argv;
}

}  // namespace spore::nest
