// The generation work of DESIGN.md section 5, in its order: entropy, clock, names, generation.json,
// acknowledgement. The thaw that follows is the agent's.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "agent/files.h"
#include "agent/generation.h"
#include "agent/log.h"
#include "base/unique_fd.h"

namespace spore::agent {
namespace {

constexpr const char* kGenerationFile = "/run/spore/generation.json";
constexpr const char* kMachineIdFile = "/run/spore/machine-id";
constexpr const char* kEtcMachineId = "/etc/machine-id";
constexpr const char* kBootIdFile = "/run/spore/boot_id";
constexpr const char* kKernelBootId = "/proc/sys/kernel/random/boot_id";

struct Unmap {
  void operator()(void* address) const { ::munmap(address, wire::kGenerationPageSize); }
};
using MappedPage = std::unique_ptr<void, Unmap>;

Result<MappedPage> map_physical(std::uint64_t address, int flags) {
  const base::UniqueFd memory(::open("/dev/mem", O_RDWR | O_CLOEXEC | flags));
  if (!memory.valid()) {
    return fail(path_error("opening", "/dev/mem", errno));
  }
  void* mapped = ::mmap(nullptr, wire::kGenerationPageSize, PROT_READ | PROT_WRITE, MAP_SHARED,
                        memory.get(), static_cast<off_t>(address));
  if (mapped == MAP_FAILED) {
    return fail(Error::from_errno(errno, fmt::format("mapping physical address {:#x}", address)));
  }
  return MappedPage(mapped);
}

// A file that a child writes in place: with a descriptor from before the fork, no lookup, no new
// inode. Nobody can see it half written, since the workload is frozen.
class IdentityFile {
 public:
  Result<void> create(const char* path) {
    path_ = path;
    fd_.reset(::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444));
    if (!fd_.valid()) {
      return fail(path_error("creating", path, errno));
    }
    return {};
  }

  Result<void> lay_over(const char* target) {
    if (::mount(path_, target, nullptr, MS_BIND, nullptr) != 0) {
      return fail(path_error("laying a file over", target, errno));
    }
    return {};
  }

  void write(std::string_view text) {
    if (::pwrite(fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
        (text.size() < size_ && ::ftruncate(fd_.get(), static_cast<off_t>(text.size())) != 0)) {
      log_error("generation work: " + path_error("writing", path_, errno).message());
    }
    size_ = text.size();
  }

 private:
  const char* path_ = "";
  base::UniqueFd fd_;
  std::size_t size_ = 0;
};

// What an image has there may be a link, or missing.
Result<void> make_plain_file(const char* path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(std::filesystem::symlink_status(path, error))) {
    std::filesystem::remove(path, error);
    return write_atomically(path, "", 0444);
  }
  return {};
}

// The first Ethernet interface's name; empty if there is none.
std::string ethernet_interface() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error)) {
    const auto type = read_file(entry.path().string() + "/type");
    if (type && *type == std::to_string(ARPHRD_ETHER) + "\n") {
      return entry.path().filename().string();
    }
  }
  return "";
}

class MachineGeneration final : public Generation {
 public:
  MachineGeneration(MappedPage page, MappedPage doorbell)
      : page_(std::move(page)), doorbell_(std::move(doorbell)) {}

  Result<void> prepare() override {
    random_.reset(::open("/dev/random", O_RDWR | O_CLOEXEC));
    if (!random_.valid()) {
      return fail(path_error("opening", "/dev/random", errno));
    }
    network_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    interface_ = ethernet_interface();
    SPORE_TRY(generation_file_.create(kGenerationFile));
    // Laid over: the kernel's boot id cannot be written, and a new /etc/machine-id would be a new
    // inode in every child.
    SPORE_TRY(boot_id_.create(kBootIdFile));
    SPORE_TRY(boot_id_.lay_over(kKernelBootId));
    SPORE_TRY(machine_id_.create(kMachineIdFile));
    SPORE_TRY(make_plain_file(kEtcMachineId));
    return machine_id_.lay_over(kEtcMachineId);
  }

  std::uint64_t number() override {
    return static_cast<const volatile wire::GenerationPage*>(page_.get())->number;
  }

  Identity adopt() override {
    wire::GenerationPage page;
    std::memcpy(&page, page_.get(), sizeof(page));
    reseed(page);
    set_clock(page);
    Identity identity = identity_of(page);
    set_names(page, identity);
    generation_file_.write(identity.to_json());
    ring(wire::DoorbellCommand::kReady);
    return identity;
  }

  void capture() override { ring(wire::DoorbellCommand::kCapture); }

  void power_off() override {
    ring(wire::DoorbellCommand::kPowerOff);
    ::reboot(RB_POWER_OFF);
  }

 private:
  // The compiler must neither keep memory in registers across the doorbell nor move the write.
  void ring(wire::DoorbellCommand command) {
    auto* window = static_cast<volatile std::uint8_t*>(doorbell_.get());
    auto* bell = reinterpret_cast<volatile std::uint32_t*>(window + wire::kDoorbellRegRing);
    asm volatile("" ::: "memory");
    *bell = static_cast<std::uint32_t>(command);
    asm volatile("" ::: "memory");
  }

  void reseed(wire::GenerationPage& page) {
    // struct rand_pool_info: the credit in bits, the size in bytes, the bytes.
    struct {
      int bits;
      int size;
      std::array<std::uint8_t, sizeof(page.entropy)> bytes;
    } pool{static_cast<int>(page.entropy.size() * 8), static_cast<int>(page.entropy.size()),
           page.entropy};
    if (::ioctl(random_.get(), RNDADDENTROPY, &pool) != 0 ||
        ::ioctl(random_.get(), RNDRESEEDCRNG) != 0) {
      log_error(fmt::format("generation work: reseeding the kernel's random numbers: {}",
                            std::generic_category().message(errno)));
    }
    ::explicit_bzero(&pool, sizeof(pool));
    ::explicit_bzero(page.entropy.data(), page.entropy.size());
    ::explicit_bzero(static_cast<wire::GenerationPage*>(page_.get())->entropy.data(),
                     page.entropy.size());
  }

  static void set_clock(const wire::GenerationPage& page) {
    timespec now{};
    now.tv_sec = static_cast<time_t>(page.wall_clock_seconds);
    now.tv_nsec = static_cast<long>(page.wall_clock_nanoseconds);
    if (::clock_settime(CLOCK_REALTIME, &now) != 0) {
      log_error(fmt::format("generation work: setting the clock: {}",
                            std::generic_category().message(errno)));
    }
  }

  void set_names(const wire::GenerationPage& page, const Identity& identity) {
    if (!identity.hostname.empty()) {
      ::sethostname(identity.hostname.data(), identity.hostname.size());
    }
    const std::string_view id = identity.id;
    machine_id_.write(identity.id + "\n");
    boot_id_.write(fmt::format("{}-{}-{}-{}-{}\n", id.substr(0, 8), id.substr(8, 4),
                               id.substr(12, 4), id.substr(16, 4), id.substr(20)));
    if (!interface_.empty() && !identity.mac.empty()) {
      ifreq request{};
      interface_.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
      request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
      std::memcpy(request.ifr_hwaddr.sa_data, page.mac.data(), page.mac.size());
      ::ioctl(network_.get(), SIOCSIFHWADDR, &request);
    }
  }

  MappedPage page_;
  MappedPage doorbell_;
  base::UniqueFd random_;
  base::UniqueFd network_;
  IdentityFile generation_file_;
  IdentityFile machine_id_;
  IdentityFile boot_id_;
  std::string interface_;
};

}  // namespace

Result<std::unique_ptr<Generation>> open_machine_generation(const GenerationAddresses& addresses) {
  // The page is RAM and is mapped as such; only the doorbell needs uncached accesses.
  SPORE_ASSIGN(MappedPage page, map_physical(addresses.page, 0));
  SPORE_ASSIGN(MappedPage doorbell, map_physical(addresses.doorbell, O_SYNC));
  const auto* head = static_cast<const wire::GenerationPage*>(page.get());
  if (head->magic != wire::kGenerationMagic || head->version != wire::kGenerationVersion) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("no generation page of version {} at {:#x}: this agent and the VMM are "
                            "not from the same release",
                            wire::kGenerationVersion, addresses.page));
  }
  return std::make_unique<MachineGeneration>(std::move(page), std::move(doorbell));
}

}  // namespace spore::agent
