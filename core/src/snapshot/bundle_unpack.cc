// Reading bundles: once, in order, into a directory that is published when all of it is right.
// Hostile bytes: all. bundle.json is checked before a name or a size in it is used; each further
// header must be the one that follows from it; and in the end the files must be those that a bundle
// of these spores has.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/files.h"
#include "snapshot/bundle.h"
#include "snapshot/document.h"
#include "snapshot/staging.h"
#include "snapshot/tar.h"
#include "spore/disk.h"

namespace spore {
namespace {

namespace fs = std::filesystem;
using namespace snapshot;  // NOLINT: a file about nothing else

tl::unexpected<Error> damaged(std::string_view why) {
  return fail(ErrorCode::kCorrupt,
              fmt::format("unpacking the bundle: {}: take it from where it came again", why));
}

class BundleReader {
 public:
  explicit BundleReader(const BundleSource& source) : source_(source) {}

  Result<void> read(std::span<char> bytes) {
    while (!bytes.empty()) {
      SPORE_ASSIGN(const std::size_t count, source_(bytes));
      if (count == 0) {
        return damaged("it ends too early");
      }
      bytes = bytes.subspan(std::min(count, bytes.size()));
    }
    return {};
  }

  Result<void> read_zeros(std::size_t count) {
    std::array<char, kTarEndBytes> zeros{};
    SPORE_TRY(read(std::span(zeros).first(count)));
    return std::all_of(zeros.begin(), zeros.end(), [](char c) { return c == '\0'; })
               ? Result<void>()
               : damaged("there is something between its files");
  }

  Result<void> expect_end() {
    SPORE_TRY(read_zeros(kTarEndBytes));
    char byte = 0;
    SPORE_ASSIGN(const std::size_t count, source_(std::span(&byte, 1)));
    return count == 0 ? Result<void>() : damaged("there is something behind its end");
  }

 private:
  const BundleSource& source_;
};

class Unpacker {
 public:
  Unpacker(const BundleSource& source, const Staging& staging)
      : reader_(source), staging_(staging) {}

  Result<Bundle> run(const UnpackOptions& options) {
    SPORE_TRY(read_document(options.digest));
    for (const BundleFile& file : document_.files) {
      SPORE_TRY(read_file(file));
    }
    SPORE_TRY(reader_.expect_end());
    SPORE_TRY(compare_with_spores());
    Bundle bundle = describe_bundle(document_, digest_, document_bytes_.size());
    bundle.path = staging_.final_path();
    return bundle;
  }

 private:
  Result<void> read_document(const std::string& wanted_digest) {
    std::string header(kTarBlockBytes, '\0');
    SPORE_TRY(reader_.read(header));
    const auto size = tar_size(header, kBundleFile);
    if (!size) {
      return damaged("it does not begin as a bundle of spores does");
    }
    if (*size > kMaxBundleDocumentBytes) {
      return damaged(fmt::format("its {} has {} bytes, at most {} can be", kBundleFile, *size,
                                 kMaxBundleDocumentBytes));
    }
    document_bytes_.resize(*size);
    SPORE_TRY(reader_.read(document_bytes_));
    SPORE_TRY(reader_.read_zeros(tar_padding(*size)));
    digest_ = base::sha256_of(document_bytes_);
    if (!wanted_digest.empty() && digest_ != wanted_digest) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("unpacking the bundle: its digest is {}, not {}: it is another one",
                              digest_, wanted_digest));
    }
    auto document = parse_bundle_document(document_bytes_);
    if (!document) {
      return damaged(document.error().message());
    }
    document_ = std::move(*document);
    return {};
  }

  Result<void> read_file(const BundleFile& file) {
    std::string header(kTarBlockBytes, '\0');
    SPORE_TRY(reader_.read(header));
    if (header != tar_header(file.name, file.bytes)) {
      return damaged(fmt::format("{} says that {} of {} bytes comes next, but it does not",
                                 kBundleFile, file.name, file.bytes));
    }
    const std::string path = fmt::format("{}/{}", staging_.path(), file.name);
    SPORE_TRY(make_folders(fs::path(path).parent_path().string()));
    const base::UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    if (!fd.valid()) {
      return fail(Error::from_errno(errno, fmt::format("create {}", path)));
    }
    base::Sha256 hash;
    for (std::uint64_t left = file.bytes; left > 0;) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(left, block_.size()));
      const std::span<char> bytes = std::span(block_).first(part);
      SPORE_TRY(reader_.read(bytes));
      hash.update({bytes.data(), bytes.size()});
      SPORE_TRY(base::write_all(fd.get(), {bytes.data(), bytes.size()}, path));
      left -= part;
    }
    if (hash.finish() != file.sha256) {
      return damaged(fmt::format("{} is not what {} says", file.name, kBundleFile));
    }
    return reader_.read_zeros(tar_padding(file.bytes));
  }

  Result<void> make_folders(const std::string& folder) {
    if (folder == last_folder_) {
      return {};
    }
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
      return fail(Error::from_errno(error.value(), fmt::format("making the directory {}", folder)));
    }
    last_folder_ = folder;
    return {};
  }

  // Also checks all sections and chunks.
  Result<void> compare_with_spores() {
    std::vector<BundleMember> members;
    for (const BundledSpore& spore : document_.spores) {
      auto opened =
          SporeDirectory::open(absolute_path(fmt::format("{}/{}", staging_.path(), spore.name)));
      if (!opened) {
        return damaged(opened.error().message());
      }
      members.push_back({spore.name, std::move(*opened)});
    }
    const bool with_images = std::any_of(document_.files.begin(), document_.files.end(), is_image);
    const auto plan = plan_bundle(std::move(members), with_images);
    if (!plan) {
      return damaged(plan.error().message());
    }
    if (to_document(plan->document) != document_bytes_) {
      return damaged("its files are not those that its spores need");
    }
    return {};
  }

  BundleReader reader_;
  const Staging& staging_;
  std::string document_bytes_;
  std::string digest_;
  BundleDocument document_;
  std::string last_folder_;
  std::vector<char> block_ = std::vector<char>(kBundleBlockBytes);
};

Result<BundleSource> source_of(const std::string& file) {
  // It may be a pipe, and then it is waited for.
  auto fd = std::make_shared<base::UniqueFd>(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd->valid()) {
    return fail(Error::from_errno(errno, fmt::format("reading the bundle {}", file)));
  }
  return BundleSource([fd, file](std::span<char> bytes) -> Result<std::size_t> {
    for (;;) {
      const ssize_t count = ::read(fd->get(), bytes.data(), bytes.size());
      if (count >= 0) {
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR) {
        return fail(Error::from_errno(errno, fmt::format("reading the bundle {}", file)));
      }
    }
  });
}

}  // namespace

Result<Bundle> unpack_bundle(const BundleSource& source, const std::string& folder,
                             const UnpackOptions& options) {
  if (!options.digest.empty() && !is_digest(options.digest)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unpacking the bundle: {} is no digest: say the 64 hexadecimal digits "
                            "that packing it printed",
                            options.digest));
  }
  SPORE_ASSIGN(auto staging, Staging::create(folder, "unpacking the bundle"));
  SPORE_ASSIGN(Bundle bundle, Unpacker(source, staging).run(options));
  SPORE_TRY(staging.sync());
  SPORE_TRY(staging.publish());
  return bundle;
}

Result<Bundle> unpack_bundle_file(const std::string& file, const std::string& folder,
                                  const UnpackOptions& options) {
  SPORE_ASSIGN(const BundleSource source, source_of(file));
  return unpack_bundle(source, folder, options);
}

}  // namespace spore
