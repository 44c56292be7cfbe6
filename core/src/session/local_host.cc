#include "session/local_host.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "devices/generation.h"
#include "image/initramfs.h"
#include "image/kernel.h"
#include "vm/entropy.h"

namespace spore::session {
namespace {

using Clock = std::chrono::steady_clock;

// Hands a Vm's news to whoever watches the machine.
class Relay final : public vm::VmObserver {
 public:
  explicit Relay(std::shared_ptr<MachineObserver> observer) : observer_(std::move(observer)) {}
  void on_agent_bytes(std::string_view bytes) override { observer_->on_agent_bytes(bytes); }
  void on_captured(const CaptureTimings& timings) override { observer_->on_captured(timings); }
  void on_ended(const MachineEnd& end) override { observer_->on_ended(end); }

 private:
  std::shared_ptr<MachineObserver> observer_;
};

Result<base::Mapping> map_file(const std::string& path) {
  const std::string attempted = fmt::format("reading {}", path);
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  if (status.st_size == 0) {
    return fail(ErrorCode::kCorrupt, attempted + ": the file is empty");
  }
  return base::Mapping::create(static_cast<std::size_t>(status.st_size), PROT_READ,
                               MAP_PRIVATE | MAP_POPULATE, file.get(), 0, attempted);
}

std::string kernel_command_line(const MachineConfig& config) {
  return fmt::format(
      "loglevel=4 mitigations=off audit=0 cryptomgr.notests random.trust_cpu=on "
      "rcupdate.rcu_expedited=1 spore.images={} spore.hostname={}",
      config.images.size(), config.hostname);
}

tl::unexpected<Error> no_such(std::string_view what, std::uint64_t id) {
  return fail(ErrorCode::kNotFound, fmt::format("there is no {} {} here", what, id));
}

// Shells that wait for machines: as many as can run at once.
std::size_t shells_to_keep() {
  return std::max(2U, std::thread::hardware_concurrency());
}

}  // namespace

LocalHost::LocalHost(LocalHostOptions options)
    : options_(std::move(options)), pool_(options_.hypervisor, shells_to_keep()) {}

Result<Host::Booted> LocalHost::boot(const MachineConfig& config,
                                     std::shared_ptr<MachineObserver> observer) {
  const Clock::time_point start = Clock::now();
  SPORE_ASSIGN(const image::Kernel kernel, image::find_kernel(config.kernel));
  image::InitramfsSpec spec;
  spec.init_path = options_.agent_path;
  spec.kernel_release = kernel.release;
  spec.modules = image::kGuestModules;
  SPORE_ASSIGN(const std::string initramfs_path, image::build_initramfs(spec));
  SPORE_ASSIGN(const base::Mapping kernel_bytes, map_file(kernel.elf_path));
  SPORE_ASSIGN(const base::Mapping initramfs, map_file(initramfs_path));

  Generation generation;
  generation.id = devices::make_generation_id(vm::fill_with_entropy);
  generation.parameters.name = config.hostname;
  generation.parameters.hostname = config.hostname;
  const vm::VmConfig vm_config{config.memory_bytes, config.cpus, config.images};
  const isa::BootImage boot_image{kernel_bytes.bytes(), initramfs.bytes(),
                                  kernel_command_line(config)};
  SPORE_ASSIGN(MachinePtr machine,
               vm::Vm::boot(*options_.hypervisor, vm_config, boot_image, generation,
                            std::make_shared<Relay>(std::move(observer))));
  Booted booted{add(Running{machine, {kernel.elf_path, {}}}), std::move(generation),
                base::microseconds_since(start)};
  machine->start();
  return booted;
}

Result<void> LocalHost::send_to_agent(MachineId machine, std::string_view bytes) {
  const MachinePtr found = find(machine);
  if (!found) {
    return no_such("machine", machine);
  }
  found->send_to_agent(bytes);
  return {};
}

Result<SporeId> LocalHost::take_spore(MachineId machine, bool keep_running) {
  Running found;
  {
    const std::lock_guard lock(mutex_);
    const auto at = machines_.find(machine);
    if (at == machines_.end()) {
      return no_such("machine", machine);
    }
    found = at->second;
  }
  SPORE_ASSIGN(CapturePtr capture, found.machine->take_capture(keep_running));
  return add(CapturedMachine{std::move(capture), std::move(found.kernel)});
}

Result<SavedSpore> LocalHost::save(SporeId spore, const SaveOrder& order) {
  SPORE_ASSIGN(const CapturedMachine found, find_spore(spore));
  SPORE_ASSIGN(const vm::GuestPlatform platform, options_.hypervisor->platform());
  return shelf_.save(found, order, platform);
}

Result<LoadedHere> LocalHost::load(const std::string& path, const LoadOptions& options) {
  SPORE_ASSIGN(const vm::GuestPlatform platform, options_.hypervisor->platform());
  SPORE_ASSIGN(auto loaded, shelf_.load(path, options, platform));
  const Generation generation = loaded.machine.capture->generation;
  return LoadedHere{add(std::move(loaded.machine)), std::move(loaded.spore), generation,
                    std::move(loaded.agent_section)};
}

Result<std::vector<ForkedMachine>> LocalHost::fork(SporeId spore, std::vector<ForkOrder> orders) {
  SPORE_ASSIGN(const CapturedMachine parent, find_spore(spore));
  std::vector<ForkedMachine> forked;
  for (ForkOrder& order : orders) {
    auto one = fork_one(parent, std::move(order));
    if (!one) {
      for (const ForkedMachine& made : forked) {
        close(made.id);
      }
      return fail(one.error().with_context(
          fmt::format("forking child {} of {}", forked.size(), orders.size())));
    }
    forked.push_back(std::move(*one));
  }
  return forked;
}

Result<ForkedMachine> LocalHost::fork_one(const CapturedMachine& spore, ForkOrder order) {
  const CapturePtr& capture = spore.capture;
  const Clock::time_point start = Clock::now();
  if (order.replaces != 0) {
    close(order.replaces);
  }
  ForkedMachine forked;
  forked.generation.number = capture->generation.number + 1;
  forked.generation.id = devices::make_generation_id(vm::fill_with_entropy);
  forked.generation.parent_id = capture->generation.id;
  forked.generation.parameters = std::move(order.parameters);
  SPORE_ASSIGN(auto taken, pool_.take(capture->shape(), capture->ram));
  forked.timings.reset = taken.reset;
  forked.timings.shell_us = base::microseconds_since(start);
  SPORE_ASSIGN(MachinePtr machine,
               vm::Vm::fork(std::move(taken.shell), capture, forked.generation,
                            std::make_shared<Relay>(std::move(order.observer)), forked.timings));
  machine->start();
  forked.id = add(Running{std::move(machine), spore.kernel});
  forked.timings.build_us = base::microseconds_since(start);
  return forked;
}

Result<MachineStats> LocalHost::stats(MachineId machine) {
  const MachinePtr found = find(machine);
  if (!found) {
    return no_such("machine", machine);
  }
  return found->stats();
}

std::string LocalHost::console_tail(MachineId machine) {
  const MachinePtr found = find(machine);
  return found ? found->console_text() : std::string();
}

void LocalHost::close(MachineId machine) {
  MachinePtr found;
  {
    const std::lock_guard lock(mutex_);
    const auto at = machines_.find(machine);
    if (at == machines_.end()) {
      return;
    }
    found = std::move(at->second.machine);
    machines_.erase(at);
  }
  if (auto shell = found->release_shell()) {
    pool_.give_back(std::move(shell));
  }
}

void LocalHost::release(SporeId spore) {
  CapturePtr capture;
  {
    const std::lock_guard lock(mutex_);
    const auto at = spores_.find(spore);
    if (at == spores_.end()) {
      return;
    }
    capture = std::move(at->second.capture);
    spores_.erase(at);
  }
  pool_.forget(capture->ram);
  shelf_.keep_working_set(capture->ram);
}

MachineId LocalHost::add(Running machine) {
  const std::lock_guard lock(mutex_);
  const MachineId id = ++last_id_;
  machines_.emplace(id, std::move(machine));
  return id;
}

SporeId LocalHost::add(CapturedMachine spore) {
  pool_.expect(spore.capture->shape(), spore.capture->ram);
  const std::lock_guard lock(mutex_);
  const SporeId id = ++last_id_;
  spores_.emplace(id, std::move(spore));
  return id;
}

LocalHost::MachinePtr LocalHost::find(MachineId id) const {
  const std::lock_guard lock(mutex_);
  const auto at = machines_.find(id);
  return at == machines_.end() ? nullptr : at->second.machine;
}

Result<CapturedMachine> LocalHost::find_spore(SporeId id) const {
  const std::lock_guard lock(mutex_);
  const auto at = spores_.find(id);
  if (at == spores_.end()) {
    return no_such("spore", id);
  }
  return at->second;
}

}  // namespace spore::session
