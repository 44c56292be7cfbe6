// Forks from shells that were made ahead, resets of one shell, and many forks in a row. A reset is
// measured from the end of a machine until the next one may run: what the old one wrote is put
// back, its devices are made anew, its state is set. Beside it the cost of copying as many pages.
#include <fmt/format.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/check.h"
#include "kvm/kvm_hypervisor.h"
#include "micro.h"
#include "vm/shell_pool.h"

namespace spore::bench {
namespace {

using CapturePtr = std::shared_ptr<const vm::Capture>;

constexpr int kRounds = 200;
constexpr int kWarmUp = 20;
constexpr int kBatch = 10;
constexpr std::uint64_t kMemoryMib = 512;

struct Life {
  std::unique_ptr<vm::Vm> vm;
  ForkTimings timings;
  double ready = 0;       // until it may run, in microseconds
  double first_exit = 0;  // until its first exit was handled
};

Life live(std::unique_ptr<vm::Vm> last, std::unique_ptr<vm::Shell> shell,
          const CapturePtr& capture) {
  Life life;
  const auto waiter = std::make_shared<Waiter>();
  const auto start = Clock::now();
  if (last) {
    shell = last->release_shell();
    SPORE_CHECK(shell != nullptr);
  }
  life.vm =
      vm::Vm::fork(std::move(shell), capture, child_of(*capture), waiter, life.timings).value();
  const auto ready = Clock::now();
  life.vm->start();
  waiter->await_end();
  const auto ended = Clock::now();
  life.ready = microseconds(start, ready);
  life.first_exit = microseconds(start, ended);
  return life;
}

void measure_pooled(vm::Hypervisor& hypervisor, std::uint64_t mib) {
  const auto capture = capture_micro_guest(hypervisor, mib * kMiB);
  // The first machine of a spore tells what it touched; a guest does so with its agent's words.
  auto first = live(
      nullptr, vm::Shell::for_forks(hypervisor, capture->shape(), capture->ram).value(), capture);
  const auto used = first.vm->release_shell();
  SPORE_CHECK(used->collect_written() && used->ram().record_working_set());
  std::vector<double> forks, ready;
  for (int batch = 0; batch < kRounds / kBatch; ++batch) {
    // Made ahead, as a pool does it: their threads have come to rest.
    std::vector<std::unique_ptr<vm::Shell>> shells;
    for (int i = 0; i < kBatch; ++i) {
      shells.push_back(vm::Shell::for_forks(hypervisor, capture->shape(), capture->ram).value());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (auto& shell : shells) {
      const Life life = live(nullptr, std::move(shell), capture);
      forks.push_back(life.first_exit);
      ready.push_back(life.ready);
    }
  }
  report("fork from a pooled shell", mib, forks);
  report("fork from a pooled shell, until it may run", mib, ready);
}

// Microseconds for each page of copying from the image, as cold as a reset finds them.
double copy_cost(const vm::Capture& capture, std::uint32_t pages) {
  std::vector<std::byte> target(static_cast<std::size_t>(pages) * 4096);
  std::vector<double> costs;
  for (int i = 0; i < 50; ++i) {
    const auto start = Clock::now();
    for (std::uint32_t page = 0; page < pages; ++page) {
      std::memcpy(target.data() + page * 4096ULL, capture.ram->page(kFirstWrittenPage + page),
                  4096);
    }
    costs.push_back(microseconds(start, Clock::now()) / pages);
  }
  return quantile(costs, 0.5);
}

void measure_resets(vm::Hypervisor& hypervisor) {
  for (const std::uint32_t pages : {0U, 16U, 64U, 256U, 1024U, 4096U}) {
    const auto capture = capture_micro_guest(hypervisor, kMemoryMib * kMiB, pages);
    Life life = live(
        nullptr, vm::Shell::for_forks(hypervisor, capture->shape(), capture->ram).value(), capture);
    std::vector<double> resets, exits, memory, devices, cpus;
    for (int i = 0; i < kRounds + kWarmUp; ++i) {
      life = live(std::move(life.vm), nullptr, capture);
      SPORE_CHECK(life.timings.pages_copied >= pages);
      if (i >= kWarmUp) {
        resets.push_back(life.ready);
        exits.push_back(life.first_exit);
        memory.push_back(static_cast<double>(life.timings.memory_us));
        devices.push_back(static_cast<double>(life.timings.devices_us));
        cpus.push_back(static_cast<double>(life.timings.cpus_us));
      }
    }
    report(fmt::format("reset of {} pages", pages), kMemoryMib, resets);
    if (pages == 0) {
      report("reset to first exit", kMemoryMib, exits);
      report("reset, memory", kMemoryMib, memory);
      report("reset, devices", kMemoryMib, devices);
      report("reset, vCPU", kMemoryMib, cpus);
    } else {
      report(fmt::format("copy of a page, {} of them", pages), kMemoryMib,
             {copy_cost(*capture, pages)});
    }
  }
}

void measure_row(const std::shared_ptr<vm::Hypervisor>& hypervisor) {
  constexpr int kForks = 1000;
  const auto capture = capture_micro_guest(*hypervisor, kMemoryMib * kMiB);
  vm::ShellPool pool(hypervisor, 2);
  pool.expect(capture->shape(), capture->ram);
  const auto start = Clock::now();
  for (int i = 0; i < kForks; ++i) {
    auto taken = pool.take(capture->shape(), capture->ram).value();
    Life life = live(nullptr, std::move(taken.shell), capture);
    pool.give_back(life.vm->release_shell());
  }
  report(fmt::format("{} forks in a row", kForks), kMemoryMib, {microseconds(start, Clock::now())});
}

}  // namespace
}  // namespace spore::bench

int main() {
  auto usable = spore::kvm::create_kvm_hypervisor();
  if (!usable) {
    fmt::print(stderr, "reset_bench: {}\n", usable.error().message());
    return 77;
  }
  const std::shared_ptr<spore::vm::Hypervisor> hypervisor = std::move(*usable);
  for (const std::uint64_t mib : {128, 1024, 8192}) {
    spore::bench::measure_pooled(*hypervisor, mib);
  }
  spore::bench::measure_resets(*hypervisor);
  spore::bench::measure_row(hypervisor);
  return 0;
}
