// Saving. Loading is in spore_shelf_load.cc.
#include "session/spore_shelf.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "isa/board.h"
#include "kept/host_digests.h"
#include "snapshot/document.h"

namespace spore::session {
namespace {

using Clock = std::chrono::steady_clock;
using memory::kPageSize;

// A spore on top of so many others is written whole: each is opened when it is loaded.
constexpr std::size_t kMaxLayers = 32;
static_assert(kMaxLayers < snapshot::kMaxParents);

// All pages of `image` that may not be zero, ascending.
Result<std::vector<std::uint32_t>> pages_of(const memory::RamImage& image) {
  std::vector<std::uint32_t> pages;
  for (const memory::RamImage* at = &image; at != nullptr; at = at->parent().get()) {
    const auto before = static_cast<std::ptrdiff_t>(pages.size());
    SPORE_TRY(at->for_each_own_page(
        [&pages](std::uint32_t page, std::span<const std::byte>) -> Result<void> {
          pages.push_back(page);
          return {};
        }));
    std::inplace_merge(pages.begin(), pages.begin() + before, pages.end());
  }
  pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
  return pages;
}

}  // namespace

snapshot::Platform platform_on(const vm::GuestPlatform& host) {
  snapshot::Platform platform;
  platform.architecture = isa::kArchitecture;
  platform.board = isa::kBoardVersion;
  platform.backend = host.backend;
  platform.cpu_vendor = host.cpu_vendor;
  platform.cpu_features = host.cpu_features;
  platform.clock = host.clock;
  platform.tsc_khz = host.tsc_khz;
  return platform;
}

Result<const snapshot::KnownDigests*> SporeShelf::digests() {
  const std::lock_guard lock(mutex_);
  if (!digests_) {
    SPORE_ASSIGN(auto opened, kept::open_host_digests());
    digests_.emplace(std::move(opened));
  }
  return &*digests_;
}

Result<snapshot::Platform> SporeShelf::platform_of(const CapturedMachine& machine,
                                                   const vm::GuestPlatform& host) {
  const vm::Capture& capture = *machine.capture;
  snapshot::Platform platform = platform_on(host);
  platform.tsc_khz = capture.state.cpus.front().tsc_khz;
  platform.memory_bytes = capture.config.memory_bytes;
  platform.cpus = capture.config.cpus;
  platform.kernel_sha256 = machine.kernel.sha256;
  if (platform.kernel_sha256.empty()) {
    SPORE_ASSIGN(const auto* known, digests());
    SPORE_ASSIGN(platform.kernel_sha256, known->of_file(machine.kernel.path));
  }
  return platform;
}

Result<std::vector<snapshot::ImageRef>> SporeShelf::images_of(const vm::Capture& capture) {
  SPORE_ASSIGN(const auto* known, digests());
  std::vector<snapshot::ImageRef> images;
  for (std::size_t i = 0; i < capture.config.images.size(); ++i) {
    const std::string& path = capture.config.images[i];
    SPORE_ASSIGN(std::string digest, known->of_file(path));
    images.push_back({std::move(digest), capture.disks[i]->size_bytes(), path});
  }
  return images;
}

std::optional<SporeShelf::OnDisk> SporeShelf::find_on_disk(const memory::RamImage& image) {
  for (const memory::RamImage* at = &image; at != nullptr; at = at->parent().get()) {
    std::optional<OnDisk> found;
    {
      const std::lock_guard lock(mutex_);
      const auto known = on_disk_.find(at);
      if (known != on_disk_.end() && known->second.image.lock().get() == at) {
        found = known->second;
      }
    }
    if (!found) {
      continue;
    }
    // It may have been removed meanwhile, or another put in its place.
    const auto there = snapshot::SporeDirectory::open(found->path);
    if (!there || (*there)->id() != found->id) {
      const std::lock_guard lock(mutex_);
      on_disk_.erase(at);
    } else if ((*there)->depth() < kMaxLayers) {
      return found;
    }
  }
  return std::nullopt;
}

void SporeShelf::remember(const ImagePtr& image, OnDisk where, bool replace) {
  where.image = image;
  const std::lock_guard lock(mutex_);
  std::erase_if(on_disk_, [](const auto& entry) { return entry.second.image.expired(); });
  if (replace) {
    on_disk_.erase(image.get());
  }
  on_disk_.try_emplace(image.get(), std::move(where));
}

SporeShelf::ImagePtr SporeShelf::find_in_memory(const std::string& ram_sha256) {
  const std::lock_guard lock(mutex_);
  for (const auto& [image, where] : on_disk_) {
    if (where.ram_sha256 == ram_sha256) {
      if (auto alive = where.image.lock()) {
        return alive;
      }
    }
  }
  return nullptr;
}

Result<snapshot::WrittenRam> SporeShelf::write_ram(snapshot::SporeWriter& writer,
                                                   const vm::Capture& capture,
                                                   const std::optional<OnDisk>& below, bool flat,
                                                   SavedSpore& saved) {
  const memory::RamImage& image = *capture.ram;
  snapshot::RamToWrite ram;
  ram.size = image.size();
  ram.page = [&image](std::size_t page) { return image.page(page); };
  if (below) {
    ram.base = below->ram_sha256;
    image.for_each_difference(*below->image.lock(), [&ram](std::size_t page) {
      ram.pages.push_back(static_cast<std::uint32_t>(page));
    });
  } else {
    SPORE_ASSIGN(ram.pages, pages_of(image));
  }
  SPORE_TRY(image.ensure(ram.pages));
  const auto start = Clock::now();
  SPORE_ASSIGN(auto written, writer.write_ram(ram));
  saved.ram_us = base::microseconds_since(start);
  saved.content_bytes = written.section.stored_pages() * kPageSize;
  saved.file_bytes = written.file_bytes;
  saved.chunks = written.section.chunks.size();
  if (flat) {
    SPORE_ASSIGN(const auto* known, digests());
    const auto flat_start = Clock::now();
    SPORE_TRY(writer.write_flat(ram, written, known->key()));
    saved.flat_us = base::microseconds_since(flat_start);
  }
  return written;
}

Result<SavedSpore> SporeShelf::save(const CapturedMachine& machine, const SaveOrder& order,
                                    const vm::GuestPlatform& host) {
  const vm::Capture& capture = *machine.capture;
  snapshot::Manifest manifest;
  snapshot::stamp(manifest);
  manifest.generation = capture.generation;
  manifest.annotations = order.options.annotations;
  SPORE_ASSIGN(manifest.platform, platform_of(machine, host));
  SPORE_ASSIGN(manifest.images, images_of(capture));
  SPORE_ASSIGN(auto writer, snapshot::SporeWriter::create(order.path));
  SavedSpore saved;
  const auto below = order.options.whole ? std::nullopt : find_on_disk(*capture.ram);
  const ImagePtr below_image = below ? below->image.lock() : nullptr;
  snapshot::SectionRef& ram = manifest.sections[std::string(snapshot::kRamSection)];
  if (below_image == capture.ram) {
    // Its RAM is there as it is: this spore takes all of it from that one.
    SPORE_ASSIGN(const auto there, snapshot::SporeDirectory::open(below->path));
    ram = there->section_ref(snapshot::kRamSection);
  } else {
    SPORE_ASSIGN(const auto written, write_ram(writer, capture, below, order.options.flat, saved));
    ram = written.ref;
  }
  SPORE_ASSIGN(manifest.sections[std::string(snapshot::kVmSection)],
               writer.write_section(snapshot::to_document(capture.state)));
  SPORE_ASSIGN(manifest.sections[std::string(snapshot::kAgentSection)],
               writer.write_section(order.agent_section));
  if (below) {
    manifest.parent = below->id;
  }
  const auto start = Clock::now();
  SPORE_ASSIGN(saved.id, writer.publish(manifest, below ? below->path : std::string()));
  saved.publish_us = base::microseconds_since(start);
  saved.path = writer.final_path();
  saved.parent = manifest.parent;
  saved.memory_bytes = capture.config.memory_bytes;
  // What is saved after a whole spore goes on top of that one: who wanted it whole wants its
  // children to need nothing else either.
  remember(capture.ram, {{}, saved.path, saved.id, ram.sha256, false}, order.options.whole);
  return saved;
}

}  // namespace spore::session
