// Loading. Hostile bytes: everything in the directory of a spore.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/files.h"
#include "base/parallel.h"
#include "image/kernel.h"
#include "isa/board.h"
#include "session/spore_shelf.h"
#include "snapshot/chunk.h"
#include "snapshot/document.h"
#include "snapshot/proof.h"

namespace spore::session {
namespace {

using Clock = std::chrono::steady_clock;
using memory::kPageSize;

Result<vm::VmState> parse_vm_section(const snapshot::SporeDirectory& directory) {
  const std::string what = fmt::format("section vm of {}", directory.path());
  SPORE_ASSIGN(const std::string bytes, directory.section(snapshot::kVmSection));
  SPORE_ASSIGN(auto state, snapshot::from_document<vm::VmState>(bytes, what));
  if (state.cpus.size() != directory.manifest().platform.cpus) {
    return fail(snapshot::not_such_a_document(
        what, fmt::format("it has {} vCPUs, the machine {}", state.cpus.size(),
                          directory.manifest().platform.cpus)));
  }
  return state;
}

// The pages of `section`, of `directory` or its parents, into `file`.
Result<void> read_pages(const snapshot::SporeDirectory& directory,
                        const snapshot::RamSection& section, int file) {
  return base::parallel_for(section.chunks.size(), [&](std::size_t i) -> Result<void> {
    const snapshot::ChunkRef& chunk = section.chunks[i];
    const std::string what = directory.describe(chunk);
    std::vector<std::byte> content(chunk.pages.count() * kPageSize);
    SPORE_ASSIGN(
        const std::string path,
        directory.find(snapshot::kChunksFolder, snapshot::chunk_file_name(chunk.sha256), what));
    SPORE_TRY(snapshot::read_chunk(path, chunk.sha256, content, what));
    const std::byte* from = content.data();
    for (std::size_t page = 0; page < snapshot::kPagesInChunk; ++page) {
      if (chunk.pages.contains(page)) {
        const auto at = static_cast<off_t>(chunk.chunk * snapshot::kChunkBytes + page * kPageSize);
        if (::pwrite(file, from, kPageSize, at) != static_cast<ssize_t>(kPageSize)) {
          return fail(Error::from_errno(errno, "reading a spore's RAM"));
        }
        from += kPageSize;
      }
    }
    return {};
  });
}

// All layers of RAM, the lowest first. Each is named by the digest of its own bytes, which names
// the one below: they cannot go in a circle.
Result<void> read_layers(const snapshot::SporeDirectory& directory,
                         const snapshot::RamSection& section, int file) {
  if (!section.base.empty()) {
    const snapshot::SporeDirectory* owner = directory.owner_of_ram(section.base);
    if (owner == nullptr) {
      return fail(snapshot::not_such_a_document(
          fmt::format("section ram of {}", directory.path()),
          fmt::format("it is a layer on {}, which is no parent's RAM", section.base)));
    }
    SPORE_ASSIGN(const auto below, owner->ram_section());
    if (below.size != section.size) {
      return fail(snapshot::not_such_a_document(fmt::format("section ram of {}", directory.path()),
                                                "its base has another size"));
    }
    SPORE_TRY(read_layers(*owner, below, file));
  }
  return read_pages(directory, section, file);
}

}  // namespace

Result<std::vector<std::string>> SporeShelf::find_images(
    const snapshot::SporeDirectory& directory) {
  SPORE_ASSIGN(const auto* known, digests());
  std::vector<std::string> paths;
  for (const snapshot::ImageRef& image : directory.manifest().images) {
    SPORE_ASSIGN(const std::string path, directory.find_image(image));
    SPORE_ASSIGN(const std::string digest, known->of_file(path));
    if (digest != image.sha256) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("opening the spore {}: its root image {} was changed: it is {} now, "
                              "and was {} at the capture",
                              directory.path(), path, digest, image.sha256));
    }
    paths.push_back(path);
  }
  return paths;
}

Result<SporeShelf::ImagePtr> SporeShelf::load_ram(const snapshot::SporeDirectory& directory,
                                                  const LoadOptions& /*options*/,
                                                  std::string& backing) {
  SPORE_ASSIGN(const auto section, directory.ram_section());
  SPORE_ASSIGN(base::UniqueFd file, memory::create_memory_file(section.size));
  SPORE_TRY(read_layers(directory, section, file.get()));
  backing = "memory";
  return memory::RamImage::flat(std::move(file), section.size);
}

Result<std::shared_ptr<const vm::Capture>> SporeShelf::restore(
    const snapshot::SporeDirectory& directory, const LoadOptions& options, std::string& backing) {
  const snapshot::Manifest& manifest = directory.manifest();
  auto capture = std::make_shared<vm::Capture>();
  SPORE_ASSIGN(capture->config.images, find_images(directory));
  capture->config.memory_bytes = manifest.platform.memory_bytes;
  capture->config.cpus = manifest.platform.cpus;
  SPORE_TRY(vm::check_config(capture->config));
  for (const std::string& path : capture->config.images) {
    SPORE_ASSIGN(auto disk, virtio::FileBlockBackend::open(path, /*writable=*/false));
    capture->disks.push_back(std::move(disk));
  }
  SPORE_ASSIGN(capture->state, parse_vm_section(directory));
  capture->generation = manifest.generation;
  SPORE_ASSIGN(capture->ram, load_ram(directory, options, backing));
  return capture;
}

Result<SporeShelf::Loaded> SporeShelf::load(const std::string& path, const LoadOptions& options,
                                            const vm::GuestPlatform& host) {
  const auto start = Clock::now();
  SPORE_ASSIGN(const auto directory, snapshot::SporeDirectory::open(path));
  const snapshot::Manifest& manifest = directory->manifest();
  snapshot::Platform offered = platform_on(host);
  if (!options.kernel.empty()) {
    SPORE_ASSIGN(const image::Kernel kernel, image::find_kernel(options.kernel));
    SPORE_ASSIGN(const auto* known, digests());
    SPORE_ASSIGN(offered.kernel_sha256, known->of_file(kernel.elf_path));
  }
  const auto differ = snapshot::differences(manifest.platform, offered, host.scales_tsc);
  if (!differ.empty()) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("loading the spore {}: its machine cannot go on here: it needs {}: "
                            "resume it on a host like its own, or capture it on this one",
                            path, fmt::join(differ, ", ")));
  }
  Loaded loaded;
  SPORE_ASSIGN(loaded.agent_section, directory->section(snapshot::kAgentSection));
  SPORE_ASSIGN(loaded.machine.capture, restore(*directory, options, loaded.spore.backing));
  loaded.machine.kernel.sha256 = manifest.platform.kernel_sha256;
  remember(loaded.machine.capture->ram,
           {{},
            directory->path(),
            directory->id(),
            manifest.sections.at(std::string(snapshot::kRamSection)).sha256});
  loaded.spore.id = directory->id();
  loaded.spore.path = directory->path();
  loaded.spore.parent = manifest.parent;
  loaded.spore.memory_bytes = manifest.platform.memory_bytes;
  loaded.spore.cpus = manifest.platform.cpus;
  loaded.spore.annotations = manifest.annotations;
  loaded.spore.fork = manifest.fork;
  loaded.spore.load_us = base::microseconds_since(start);
  return loaded;
}

}  // namespace spore::session
