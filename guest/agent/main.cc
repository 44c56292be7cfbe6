// spore-agent: /init of a machine. Boots it, then serves the host until one of them ends.
//
// Kernel command line: spore.generation=<hex page address>,<hex doorbell address>
//                      spore.images=<number of root disks>   spore.hostname=<name>
//                      spore.control=<device>   a stream to use instead of vsock
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/files.h"
#include "agent/log.h"
#include "agent/root.h"
#include "wire/agent_protocol.h"

namespace spore::agent {
namespace {

constexpr std::chrono::seconds kControlLimit{30};
constexpr const char* kModules = "/modules";
constexpr const char* kRunDirectory = "/run/spore";
constexpr const char* kCgroupRoot = "/sys/fs/cgroup/workload";

template <typename Number>
bool parse(std::string_view text, Number& number, int base) {
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size();
}

Result<GenerationAddresses> generation_addresses() {
  SPORE_ASSIGN(const auto text, kernel_argument("spore.generation"));
  GenerationAddresses addresses;
  const auto comma = text ? text->find(',') : std::string::npos;
  if (comma == std::string::npos ||
      !parse(std::string_view(*text).substr(0, comma), addresses.page, 16) ||
      !parse(std::string_view(*text).substr(comma + 1), addresses.doorbell, 16)) {
    return fail(ErrorCode::kInvalidArgument,
                "reading spore.generation= on the kernel command line: two hexadecimal addresses "
                "are needed");
  }
  return addresses;
}

Result<unsigned> image_count() {
  SPORE_ASSIGN(const auto text, kernel_argument("spore.images"));
  unsigned images = 0;
  if (text && !parse(*text, images, 10)) {
    return fail(ErrorCode::kInvalidArgument,
                "reading spore.images= on the kernel command line: not a number: " + *text);
  }
  return images;
}

Result<base::UniqueFd> connect_to_host(DeviceWaiter& waiter) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_HOST;
  address.svm_port = wire::kAgentPort;
  base::UniqueFd socket;
  int error_number = 0;
  const auto connected = [&] {
    socket.reset(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const bool done =
        socket.valid() &&
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    error_number = errno;
    return done;
  };
  if (!waiter.wait(connected, kControlLimit)) {
    return fail(Error::from_errno(error_number, "connecting to the host over vsock"));
  }
  return socket;
}

Result<base::UniqueFd> open_control(DeviceWaiter& waiter) {
  SPORE_ASSIGN(const auto device, kernel_argument("spore.control"));
  if (!device) {
    return connect_to_host(waiter);
  }
  base::UniqueFd fd;
  const auto opened = [&] {
    fd.reset(::open(device->c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    return fd.valid();
  };
  if (!waiter.wait(opened, kControlLimit)) {
    return fail(path_error("opening the control stream", *device, errno));
  }
  return fd;
}

Result<void> set_hostname() {
  SPORE_ASSIGN(const auto name, kernel_argument("spore.hostname"));
  if (name && ::sethostname(name->data(), name->size()) != 0) {
    return fail(Error::from_errno(errno, "setting the hostname " + *name));
  }
  return {};
}

Result<void> boot(std::unique_ptr<Generation>& generation, base::UniqueFd& control) {
  SPORE_TRY(mount_kernel_filesystems());
  log_to_kernel();
  SPORE_ASSIGN(const GenerationAddresses addresses, generation_addresses());
  SPORE_ASSIGN(generation, open_machine_generation(addresses));
  SPORE_ASSIGN(DeviceWaiter waiter, DeviceWaiter::create());
  SPORE_TRY(load_modules(kModules));
  std::error_code not_there;
  std::filesystem::remove_all(kModules, not_there);  // the initramfs is RAM
  SPORE_ASSIGN(const unsigned images, image_count());
  SPORE_TRY(enter_root(images, waiter));
  SPORE_TRY(mount_user_filesystems());
  SPORE_TRY(complete_root());
  SPORE_TRY(prepare_network_and_limits());
  SPORE_TRY(set_hostname());
  SPORE_TRY(make_directories(kRunDirectory));
  SPORE_ASSIGN(control, open_control(waiter));
  return {};
}

[[noreturn]] void end_machine(Generation* generation) {
  ::sync();
  if (generation != nullptr) {
    generation->power_off();
  }
  ::reboot(RB_POWER_OFF);
  ::_exit(1);
}

[[noreturn]] void run() {
  std::unique_ptr<Generation> generation;
  base::UniqueFd control;
  if (const auto booted = boot(generation, control); !booted) {
    log_error("cannot boot: " + booted.error().message());
    end_machine(generation.get());
  }
  AgentOptions options;
  options.cgroup_root = kCgroupRoot;
  options.run_directory = kRunDirectory;
  options.generation = generation.get();
  if (const auto end = run_agent(control.get(), options); !end) {
    log_error("cannot serve the host: " + end.error().message());
  }
  end_machine(generation.get());
}

}  // namespace
}  // namespace spore::agent

int main() {
  if (::getpid() != 1) {
    std::fputs("spore-agent: this is the init of a Spore machine; it only runs as PID 1 there\n",
               stderr);
    return 2;
  }
  spore::agent::run();
}
