// Spores on disk, of micro guests: writing RAM that holds what a file holds, going on from the flat
// backing, and from the chunks alone. Prints JSON lines: {"name", "memory_mib", "p50_us",
// "p99_us"}; of the counts, p50_us is the count.
//
// Usage: disk_bench FILE DIRECTORY: content for RAM, and where the spores go.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "isa/board.h"
#include "kvm/kvm_hypervisor.h"
#include "micro.h"
#include "session/agent_section.h"
#include "session/spore_shelf.h"
#include "snapshot/ram_section.h"

namespace spore::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kRounds = 40;
constexpr std::uint64_t kMaxContent = 1024 * kMiB;
// The guest writes to 8 MiB from kFirstWrittenPage on: whole chunks.
constexpr std::uint32_t kTouchedPages = 4 * snapshot::kPagesInChunk;

session::CapturedMachine capture_with(vm::Hypervisor& hypervisor, std::uint64_t mib,
                                      std::string_view content) {
  return {capture_micro_guest(hypervisor, mib * kMiB, kTouchedPages, content),
          {.path = {}, .sha256 = std::string(64, '0')}};
}

SavedSpore save(session::SporeShelf& shelf, vm::Hypervisor& hypervisor,
                const session::CapturedMachine& machine, const std::string& path, bool flat) {
  fs::remove_all(path);
  const session::SaveOrder order{path, session::write_agent_section({}), {.flat = flat}};
  auto saved = shelf.save(machine, order, hypervisor.platform().value());
  if (!saved) {
    fmt::print(stderr, "disk_bench: {}\n", saved.error().message());
    std::exit(1);
  }
  return *saved;
}

struct Resumed {
  double to_first_exit = 0;
  double loaded_chunks = 0;
};

Resumed resume(vm::Hypervisor& hypervisor, const std::string& path, bool flat) {
  const vm::GuestPlatform platform = hypervisor.platform().value();
  const auto start = Clock::now();
  session::SporeShelf shelf;  // of another process, as it were
  const auto loaded = shelf.load(path, {.flat = flat}, platform).value();
  const auto& capture = loaded.machine.capture;
  SPORE_CHECK(loaded.spore.backing == (flat ? "flat" : "lazy"));
  const auto waiter = std::make_shared<Waiter>();
  ForkTimings timings;
  auto vm = vm::Vm::fork(vm::Shell::for_forks(hypervisor, capture->shape(), capture->ram).value(),
                         capture, child_of(*capture), waiter, timings)
                .value();
  vm->start();
  waiter->await_end();
  Resumed resumed{microseconds(start, Clock::now()), 0};
  if (const auto* fill = capture->ram->fill()) {
    resumed.loaded_chunks = static_cast<double>(fill->counters().chunks_loaded);
  }
  return resumed;
}

void measure_resumes(vm::Hypervisor& hypervisor, const std::string& folder) {
  for (const std::uint64_t mib : {128, 1024, 8192}) {
    const std::string path = fmt::format("{}/flat-{}", folder, mib);
    session::SporeShelf shelf;
    save(shelf, hypervisor, capture_with(hypervisor, mib, {}), path, /*flat=*/true);
    std::vector<double> times;
    for (int i = 0; i < kRounds; ++i) {
      times.push_back(resume(hypervisor, path, /*flat=*/true).to_first_exit);
    }
    report("resume from the flat backing", mib, times);
    fs::remove_all(path);
  }
}

void measure_saves(vm::Hypervisor& hypervisor, const std::string& folder,
                   std::string_view content) {
  constexpr std::uint64_t kMib = 1024;
  const auto machine = capture_with(hypervisor, kMib, content);
  const std::string path = folder + "/saved";
  std::vector<double> times;
  SavedSpore saved;
  for (int i = 0; i < 5; ++i) {
    session::SporeShelf shelf;
    saved = save(shelf, hypervisor, machine, path, /*flat=*/false);
    times.push_back(static_cast<double>(saved.ram_us));
  }
  report("saving RAM", kMib, times);
  report("saving RAM, content in bytes", kMib, {static_cast<double>(saved.content_bytes)});
  report("saving RAM, files in bytes", kMib, {static_cast<double>(saved.file_bytes)});
  report("saving RAM, chunks", kMib, {static_cast<double>(saved.chunks)});
  const Resumed lazy = resume(hypervisor, path, /*flat=*/false);
  report("lazy resume", kMib, {lazy.to_first_exit});
  report("lazy resume, chunks loaded", kMib, {lazy.loaded_chunks});
  // Those that it writes to, and the one with its program and tables.
  report("lazy resume, chunks touched", kMib,
         {1 + static_cast<double>(kTouchedPages) / snapshot::kPagesInChunk});
  fs::remove_all(path);
}

}  // namespace
}  // namespace spore::bench

int main(int argc, char** argv) {
  namespace bench = spore::bench;
  if (argc != 3) {
    fmt::print(stderr, "usage: disk_bench FILE DIRECTORY\n");
    return 2;
  }
  auto hypervisor = spore::kvm::create_kvm_hypervisor();
  if (!hypervisor) {
    fmt::print(stderr, "disk_bench: {}\n", hypervisor.error().message());
    return 77;
  }
  const auto content = spore::base::read_file(argv[1], bench::kMaxContent);
  if (!content) {
    fmt::print(stderr, "disk_bench: {}\n", content.error().message());
    return 1;
  }
  bench::measure_resumes(**hypervisor, argv[2]);
  bench::measure_saves(**hypervisor, argv[2], *content);
  return 0;
}
