// Children of a spore, on disk: one manifest each.
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <exception>
#include <filesystem>
#include <span>

#include "base/clock.h"
#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "devices/generation.h"
#include "snapshot/directory.h"
#include "snapshot/document.h"
#include "snapshot/staging.h"
#include "spore/disk.h"
#include "wire/machine_json.h"

namespace spore {
namespace {

using snapshot::Manifest;

Error cannot_fork(const std::string& path, std::string_view why) {
  return Error(ErrorCode::kInvalidArgument, fmt::format("forking the spore {}: {}", path, why));
}

ForkParameters parameters_of(std::uint32_t index, std::uint32_t count,
                             const DiskForkOptions& options) {
  ForkParameters child;
  child.child_index = child.shard_index = index;
  child.child_count = child.shard_count = count;
  if (!options.name.empty()) {
    child.name = fmt::format("{}-{}", options.name, index);
  }
  child.user = options.user;
  return child;
}

// Whether a machine can be told that it is this child: better now than when it is to run.
Result<void> check_parameters(const ForkParameters& child) {
  Generation generation;
  generation.id = std::string(32, '1');
  generation.parameters = child;
  const auto nothing = [](std::span<std::byte>) {};
  SPORE_TRY(devices::make_generation_page(generation, {nothing, {}}));
  try {
    snapshot::to_document(child);
  } catch (const std::exception&) {
    return fail(ErrorCode::kInvalidArgument, "its name is no UTF-8");
  }
  return {};
}

Result<void> write_child(const std::string& folder, const Manifest& manifest,
                         std::string_view parent_hint, std::string& id) {
  const std::string bytes = snapshot::to_document(manifest);
  id = base::sha256_of(bytes);
  if (::mkdir(folder.c_str(), 0755) != 0) {
    return fail(Error::from_errno(errno, fmt::format("making the directory {}", folder)));
  }
  const auto write = [&folder](std::string_view name, std::string_view text) {
    return base::write_new_file(fmt::format("{}/{}", folder, name), text, base::Sync::kLater);
  };
  SPORE_TRY(write(snapshot::kManifestFile, bytes));
  SPORE_TRY(write(snapshot::kManifestDigestFile, snapshot::manifest_digest_text(id)));
  return write(snapshot::kParentFile, parent_hint);
}

// What all children have in common.
Manifest child_of(const snapshot::SporeDirectory& spore) {
  Manifest manifest = spore.manifest();
  snapshot::stamp(manifest);
  manifest.parent = spore.id();
  return manifest;
}

}  // namespace

Result<DiskForks> fork_spore(const std::string& path, std::uint32_t count,
                             const std::string& folder, const DiskForkOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (count == 0 || count > kMaxDiskForks) {
    return fail(cannot_fork(path, fmt::format("{} children: say 1 to {}", count, kMaxDiskForks)));
  }
  if (const auto checked = check_parameters(parameters_of(count - 1, count, options)); !checked) {
    return fail(cannot_fork(path, checked.error().message()));
  }
  SPORE_ASSIGN(const auto spore, snapshot::SporeDirectory::open(path));
  const Manifest common = child_of(*spore);
  SPORE_ASSIGN(auto staging, snapshot::Staging::create(folder, "forking a spore"));
  DiskForks forks{spore->id(), staging.final_path(), std::vector<ForkedSpore>(count)};
  const std::string parent_hint =
      std::filesystem::path(spore->path()).lexically_relative(forks.path + "/000000").string();
  SPORE_TRY(base::parallel_for(count, [&](std::size_t i) {
    Manifest manifest = common;
    manifest.fork = parameters_of(static_cast<std::uint32_t>(i), count, options);
    const std::string name = fmt::format("{:06}", i);
    forks.children[i].path = fmt::format("{}/{}", forks.path, name);
    return write_child(fmt::format("{}/{}", staging.path(), name), manifest, parent_hint,
                       forks.children[i].id);
  }));
  // What could not be read is not published. Beside the final place the hint leads to the same.
  const auto last =
      snapshot::SporeDirectory::open(fmt::format("{}/{:06}", staging.path(), count - 1));
  if (!last) {
    return fail(last.error());
  }
  SPORE_TRY(staging.sync());
  SPORE_TRY(staging.publish());
  forks.fork_us = base::microseconds_since(start);
  return forks;
}

}  // namespace spore
