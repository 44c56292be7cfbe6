// Loading. Hostile bytes: everything in the directory of a spore.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "base/clock.h"
#include "image/kernel.h"
#include "isa/board.h"
#include "session/ram_loader.h"
#include "session/spore_shelf.h"
#include "snapshot/document.h"

namespace spore::session {
namespace {

using Clock = std::chrono::steady_clock;

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

// The section `sha256`, which belongs to `spore` or to a parent of it.
Result<SporeShelf::ImagePtr> SporeShelf::load_ram(
    const std::shared_ptr<const snapshot::SporeDirectory>& spore, const std::string& sha256,
    const LoadOptions& options, std::string& backing) {
  auto shared = find_in_memory(sha256);
  if (shared && shared->size() == spore->manifest().platform.memory_bytes) {
    backing = "shared";
    return shared;
  }
  SPORE_ASSIGN(const auto section, spore->ram_section(sha256));
  ImagePtr below;
  if (!section.base.empty()) {
    if (spore->owner_of_ram(section.base) == nullptr) {
      // Also what ends a chain that is longer than that of the parents.
      return fail(snapshot::not_such_a_document(
          fmt::format("section ram of {}", spore->path()),
          fmt::format("it is a layer on {}, which is no parent's RAM", section.base)));
    }
    SPORE_ASSIGN(below, load_ram(spore, section.base, options, backing));
  }
  SPORE_ASSIGN(const auto* known, digests());
  const bool is_layer = below != nullptr;
  SPORE_ASSIGN(auto loaded,
               load_own_ram(spore, sha256, section, std::move(below),
                            options.flat ? std::string_view(known->key()) : std::string_view()));
  if (!is_layer) {
    backing = loaded.backing;
  }
  if (const snapshot::SporeDirectory* owner = spore->owner_of_ram(sha256)) {
    remember(loaded.image,
             {{}, owner->path(), owner->id(), sha256, loaded.image->working_set() != nullptr});
  }
  return std::move(loaded.image);
}

void SporeShelf::keep_working_set(const ImagePtr& image) {
  std::string path;
  std::string id;
  {
    const std::lock_guard lock(mutex_);
    const auto found = on_disk_.find(image.get());
    if (!image->working_set() || found == on_disk_.end() || found->second.image.lock() != image ||
        found->second.has_working_set) {
      return;
    }
    found->second.has_working_set = true;
    path = found->second.path;
    id = found->second.id;
  }
  const auto owner = snapshot::SporeDirectory::open_alone(path);
  if (owner && (*owner)->id() == id) {
    session::keep_working_set(**owner, *image);
  }
}

Result<std::shared_ptr<const vm::Capture>> SporeShelf::restore(
    const std::shared_ptr<const snapshot::SporeDirectory>& spore, const LoadOptions& options,
    std::string& backing) {
  const snapshot::SporeDirectory& directory = *spore;
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
  SPORE_ASSIGN(capture->ram, load_ram(spore, directory.section_ref(snapshot::kRamSection).sha256,
                                      options, backing));
  return capture;
}

std::optional<SporeShelf::ManifestFile> SporeShelf::manifest_file(const std::string& path) {
  struct stat status {};
  if (::stat(fmt::format("{}/{}", path, snapshot::kManifestFile).c_str(), &status) != 0) {
    return std::nullopt;
  }
  return ManifestFile{status.st_ino, status.st_size,
                      status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::optional<SporeShelf::Loaded> SporeShelf::find_known(const std::string& path,
                                                         const ManifestFile& file,
                                                         const LoadOptions& options) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(path);
  if (found == known_.end() || found->second.file != file ||
      found->second.kernel != options.kernel || found->second.flat != options.flat) {
    return std::nullopt;
  }
  auto ram = found->second.ram.lock();
  if (!ram) {
    return std::nullopt;
  }
  Loaded loaded = found->second.loaded;
  auto capture = std::make_shared<vm::Capture>(*loaded.machine.capture);
  capture->ram = std::move(ram);
  loaded.machine.capture = std::move(capture);
  return loaded;
}

void SporeShelf::keep_known(const std::string& path, const ManifestFile& file,
                            const LoadOptions& options, const Loaded& loaded) {
  Known known{file, options.kernel, options.flat, loaded, loaded.machine.capture->ram};
  auto capture = std::make_shared<vm::Capture>(*loaded.machine.capture);
  capture->ram.reset();
  known.loaded.machine.capture = std::move(capture);
  const std::lock_guard lock(mutex_);
  std::erase_if(known_, [](const auto& entry) { return entry.second.ram.expired(); });
  known_.insert_or_assign(path, std::move(known));
}

Result<SporeShelf::Loaded> SporeShelf::load(const std::string& path, const LoadOptions& options,
                                            const vm::GuestPlatform& host) {
  const auto start = Clock::now();
  const auto file = manifest_file(path);
  if (auto known = file ? find_known(path, *file, options) : std::nullopt) {
    known->spore.load_us = base::microseconds_since(start);
    return std::move(*known);
  }
  SPORE_ASSIGN(Loaded loaded, load_anew(path, options, host));
  if (file) {
    keep_known(path, *file, options, loaded);
  }
  loaded.spore.load_us = base::microseconds_since(start);
  return loaded;
}

Result<SporeShelf::Loaded> SporeShelf::load_anew(const std::string& path,
                                                 const LoadOptions& options,
                                                 const vm::GuestPlatform& host) {
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
  SPORE_ASSIGN(loaded.machine.capture, restore(directory, options, loaded.spore.backing));
  loaded.machine.kernel.sha256 = manifest.platform.kernel_sha256;
  loaded.spore.id = directory->id();
  loaded.spore.path = directory->path();
  loaded.spore.parent = manifest.parent;
  loaded.spore.memory_bytes = manifest.platform.memory_bytes;
  loaded.spore.cpus = manifest.platform.cpus;
  loaded.spore.annotations = manifest.annotations;
  loaded.spore.fork = manifest.fork;
  return loaded;
}

}  // namespace spore::session
