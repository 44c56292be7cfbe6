// Writing bundles.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/files.h"
#include "base/parallel.h"
#include "snapshot/bundle.h"
#include "snapshot/document.h"
#include "snapshot/staging.h"
#include "snapshot/tar.h"
#include "spore/disk.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using namespace snapshot;  // NOLINT: a file about nothing else

// The spores with their names in the bundle, and all their parents.
Result<std::vector<BundleMember>> name_members(const std::vector<std::string>& paths) {
  std::vector<BundleMember> members;
  std::set<std::string> ids;
  for (const std::string& path : paths) {
    SPORE_ASSIGN(auto spore, SporeDirectory::open(path));
    if (ids.insert(spore->id()).second) {
      std::string name = fs::path(spore->path()).filename().string();
      members.push_back({is_bundle_name(name) ? name : spore->id(), std::move(spore)});
    }
  }
  if (members.empty()) {
    return fail(ErrorCode::kInvalidArgument, "packing spores: name one at least");
  }
  if (members.size() == 1) {
    members.front().name = std::string(kOnlySpore);
  }
  std::map<std::string_view, const SporeDirectory*> names;
  for (const BundleMember& member : members) {
    const auto [other, is_new] = names.emplace(member.name, member.spore.get());
    if (!is_new) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("packing spores: {} and {} have the same name: rename one",
                              other->second->path(), member.spore->path()));
    }
  }
  std::vector<BundleMember> parents;
  for (const BundleMember& member : members) {
    for (auto at = member.spore->parent(); at != nullptr; at = at->parent()) {
      if (ids.insert(at->id()).second) {
        parents.push_back({fmt::format("{}/{}", kParentsFolder, at->id()), at});
      }
    }
  }
  members.insert(members.end(), std::make_move_iterator(parents.begin()),
                 std::make_move_iterator(parents.end()));
  return members;
}

tl::unexpected<Error> changed(const std::string& path) {
  return fail(ErrorCode::kCorrupt,
              fmt::format("packing {}: it is not what its spore says that it was: take the spore "
                          "from where it came again",
                          path));
}

// A manifest can name any file of this host as its root image. Nothing of one that is another is
// given away.
Result<void> check_images(const BundlePlan& plan) {
  return base::parallel_for(plan.contents.size(), [&](std::size_t i) -> Result<void> {
    const BundleFile& file = plan.document.files[i];
    if (!is_image(file)) {
      return {};
    }
    const std::string& path = plan.contents[i].path;
    SPORE_ASSIGN(const bool same, base::has_sha256(path, file.bytes, file.sha256));
    return same ? Result<void>() : changed(path);
  });
}

// A file's bytes, which must be as many and such as `file` says.
Result<void> send_file(const std::string& path, const BundleFile& file, const BundleSink& sink) {
  SPORE_ASSIGN(const base::UniqueFd fd, base::open_to_read(path));
  base::Sha256 hash;
  std::vector<char> block(kBundleBlockBytes);
  std::uint64_t left = file.bytes;
  for (;;) {
    const ssize_t count = ::read(fd.get(), block.data(), block.size());
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("packing {}", path)));
    }
    if (count == 0) {
      break;
    }
    const std::string_view bytes(block.data(), static_cast<std::size_t>(count));
    if (bytes.size() > left) {
      return changed(path);
    }
    left -= bytes.size();
    hash.update(bytes);
    SPORE_TRY(sink(bytes));
  }
  return left == 0 && hash.finish() == file.sha256 ? Result<void>() : changed(path);
}

Result<void> send_entry(const BundleFile& file, const BundleContent& content,
                        const BundleSink& sink) {
  SPORE_TRY(sink(tar_header(file.name, file.bytes)));
  if (content.path.empty()) {
    SPORE_TRY(sink(content.text));
  } else {
    SPORE_TRY(send_file(content.path, file, sink));
  }
  return sink(std::string(tar_padding(file.bytes), '\0'));
}

}  // namespace

Result<Bundle> pack_spores(const std::vector<std::string>& paths, const BundleSink& sink,
                           const PackOptions& options) {
  SPORE_ASSIGN(auto members, name_members(paths));
  SPORE_ASSIGN(const BundlePlan plan, plan_bundle(std::move(members), options.images));
  const std::string document = to_document(plan.document);
  // What could not be unpacked is not packed.
  if (document.size() > kMaxBundleDocumentBytes) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("packing spores: they have {} files, more than one bundle takes: pack "
                            "fewer at once",
                            plan.document.files.size()));
  }
  SPORE_TRY(parse_bundle_document(document));
  SPORE_TRY(check_images(plan));
  Bundle bundle = describe_bundle(plan.document, base::sha256_of(document), document.size());
  SPORE_TRY(send_entry({kBundleFile, bundle.digest, document.size()}, {{}, document}, sink));
  for (std::size_t i = 0; i < plan.contents.size(); ++i) {
    SPORE_TRY(send_entry(plan.document.files[i], plan.contents[i], sink));
  }
  SPORE_TRY(sink(std::string(kTarEndBytes, '\0')));
  return bundle;
}

Result<Bundle> pack_spores_to(const std::vector<std::string>& paths, const std::string& file,
                              const PackOptions& options) {
  const std::string path = absolute_path(file);
  const std::string staging = staging_path(path);
  if (is_there(path)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("packing spores into {}: it is there already: remove it, or choose "
                            "another name",
                            file));
  }
  const base::UniqueFd fd(::open(staging.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
  if (!fd.valid()) {
    return fail(Error::from_errno(errno, fmt::format("packing spores into {}", file)));
  }
  const auto write = [&]() -> Result<Bundle> {
    SPORE_ASSIGN(
        Bundle bundle,
        pack_spores(
            paths, [&](std::string_view bytes) { return base::write_all(fd.get(), bytes, file); },
            options));
    if (::fsync(fd.get()) != 0) {
      return fail(Error::from_errno(errno, fmt::format("write {} to disk", file)));
    }
    SPORE_TRY(rename_new(staging, path));
    bundle.path = path;
    return bundle;
  };
  auto bundle = write();
  if (!bundle) {
    ::unlink(staging.c_str());
  }
  return bundle;
}

}  // namespace spore
