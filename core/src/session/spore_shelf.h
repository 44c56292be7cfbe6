// SporeShelf: captures of this process to and from disk. It remembers which RAM is on disk, so that
// what is captured on top of it is written as a layer, and which RAM was read, so that spores that
// share it on disk share it in memory. Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "session/host.h"
#include "snapshot/directory.h"
#include "snapshot/known_digests.h"
#include "snapshot/writer.h"
#include "vm/vm.h"

namespace spore::session {

// The guest's kernel: a file, or only its digest.
struct GuestKernel {
  std::string path;    // of the ELF file that was booted; empty: a spore's
  std::string sha256;  // empty: not known yet
};

struct CapturedMachine {
  std::shared_ptr<const vm::Capture> capture;
  GuestKernel kernel;
};

// What every machine finds on this board and host.
snapshot::Platform platform_on(const vm::GuestPlatform& host);

class SporeShelf {
 public:
  using ImagePtr = std::shared_ptr<const memory::RamImage>;

  Result<SavedSpore> save(const CapturedMachine& machine, const SaveOrder& order,
                          const vm::GuestPlatform& host);

  struct Loaded {
    CapturedMachine machine;
    LoadedSpore spore;
    std::string agent_section;
  };
  // What was read a moment ago is not read again while its manifest is the same file and its RAM
  // is in use.
  Result<Loaded> load(const std::string& path, const LoadOptions& options,
                      const vm::GuestPlatform& host);

  // Writes what its first machine touched first beside the spore that has this RAM, once.
  void keep_working_set(const ImagePtr& image);

 private:
  // A spore on disk whose own RAM is this image.
  struct OnDisk {
    std::weak_ptr<const memory::RamImage> image;
    std::string path;
    std::string id;
    std::string ram_sha256;
    bool has_working_set = false;  // as far as is known
  };

  // What tells a manifest from another one in its place.
  struct ManifestFile {
    std::uint64_t inode = 0;
    std::int64_t size = 0;
    std::int64_t mtime_ns = 0;
    bool operator==(const ManifestFile&) const = default;
  };
  struct Known {
    ManifestFile file;
    std::string kernel;  // option of the load
    bool flat = true;
    Loaded loaded;  // its capture without RAM
    std::weak_ptr<const memory::RamImage> ram;
  };

  Result<Loaded> load_anew(const std::string& path, const LoadOptions& options,
                           const vm::GuestPlatform& host);
  [[nodiscard]] std::optional<Loaded> find_known(const std::string& path, const ManifestFile& file,
                                                 const LoadOptions& options);
  void keep_known(const std::string& path, const ManifestFile& file, const LoadOptions& options,
                  const Loaded& loaded);
  static std::optional<ManifestFile> manifest_file(const std::string& path);

  Result<const snapshot::KnownDigests*> digests();
  Result<snapshot::Platform> platform_of(const CapturedMachine& machine,
                                         const vm::GuestPlatform& host);
  Result<std::vector<snapshot::ImageRef>> images_of(const vm::Capture& capture);
  // The nearest of `image` and its parents that is on disk.
  [[nodiscard]] std::optional<OnDisk> find_on_disk(const memory::RamImage& image);
  // Where `image` is on disk; the place that is known already stays, unless it is to be replaced.
  void remember(const ImagePtr& image, OnDisk where, bool replace = false);
  // The RAM that the section `ram_sha256` describes, if a spore in use has it.
  [[nodiscard]] ImagePtr find_in_memory(const std::string& ram_sha256);
  Result<snapshot::WrittenRam> write_ram(snapshot::SporeWriter& writer, const vm::Capture& capture,
                                         const std::optional<OnDisk>& below, bool flat,
                                         SavedSpore& saved);

  Result<std::shared_ptr<const vm::Capture>> restore(
      const std::shared_ptr<const snapshot::SporeDirectory>& spore, const LoadOptions& options,
      std::string& backing);
  Result<std::vector<std::string>> find_images(const snapshot::SporeDirectory& directory);
  Result<ImagePtr> load_ram(const std::shared_ptr<const snapshot::SporeDirectory>& spore,
                            const std::string& sha256, const LoadOptions& options,
                            std::string& backing);

  std::mutex mutex_;
  std::optional<snapshot::KnownDigests> digests_;      // under mutex_ until it is there
  std::map<const memory::RamImage*, OnDisk> on_disk_;  // under mutex_
  std::map<std::string, Known> known_;                 // by path, under mutex_
};

}  // namespace spore::session
