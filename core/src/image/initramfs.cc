#include "image/initramfs.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <set>

#include "base/digest.h"
#include "image/files.h"

namespace spore::image {
namespace {

constexpr std::uint64_t kMaxIndexBytes = 64ull * 1024 * 1024;
constexpr std::uint64_t kMaxModuleBytes = 256ull * 1024 * 1024;
constexpr std::uint64_t kMaxFileBytes = 1024ull * 1024 * 1024;
constexpr std::string_view kCacheVersion = "initramfs-1";

// "kernel/fs/9p/9p.ko.xz" is module "9p"; in names, '-' and '_' are the same.
std::string module_name(std::string_view path) {
  if (const auto slash = path.rfind('/'); slash != std::string_view::npos) {
    path.remove_prefix(slash + 1);
  }
  std::string name(path.substr(0, path.find(".ko")));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (end > 0) {
      parts.push_back(text.substr(0, end));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

class ModuleIndex {
 public:
  static Result<ModuleIndex> read(const std::string& directory) {
    ModuleIndex index;
    auto dependencies = read_file(directory + "/modules.dep", kMaxIndexBytes);
    if (!dependencies) {
      return fail(dependencies.error().with_context(
          fmt::format("find the kernel modules in {} (the kernel's package installs them; depmod "
                      "makes the index)",
                      directory)));
    }
    for (const std::string_view line : split(*dependencies, '\n')) {
      const auto colon = line.find(':');
      if (colon == std::string_view::npos) {
        continue;
      }
      Module module{std::string(line.substr(0, colon)), {}};
      for (const std::string_view needed : split(line.substr(colon + 1), ' ')) {
        module.needs.push_back(module_name(needed));
      }
      std::string name = module_name(module.file);
      index.modules_.emplace(std::move(name), std::move(module));
    }
    // A kernel without this file has nothing built in that could be asked for.
    if (auto built_in = read_file(directory + "/modules.builtin", kMaxIndexBytes)) {
      for (const std::string_view line : split(*built_in, '\n')) {
        index.built_in_.insert(module_name(line));
      }
    }
    return index;
  }

  // Appends the files of a module and of what it needs; false: there is no such module.
  bool add(const std::string& name) {
    if (built_in_.contains(name) || added_.contains(name)) {
      return true;
    }
    const auto found = modules_.find(name);
    if (found == modules_.end()) {
      return false;
    }
    added_.insert(name);  // before what it needs: a damaged index could go round in circles
    for (const std::string& needed : found->second.needs) {
      if (!add(needed)) {
        return false;
      }
    }
    files_.push_back(found->second.file);
    return true;
  }

  [[nodiscard]] std::vector<std::string> take_files() { return std::move(files_); }

 private:
  struct Module {
    std::string file;
    std::vector<std::string> needs;
  };
  std::map<std::string, Module> modules_;
  std::set<std::string> built_in_;
  std::set<std::string> added_;
  std::vector<std::string> files_;
};

// A cpio in the making. The same calls give the same bytes.
class CpioWriter {
 public:
  explicit CpioWriter(int fd) : archive_(archive_write_new(), archive_write_free) {
    archive_write_set_format_cpio_newc(archive_.get());
    archive_write_set_bytes_in_last_block(archive_.get(), 1);
    archive_write_open_fd(archive_.get(), fd);
  }

  Result<void> directory(const std::string& path, mode_t mode = 0755) {
    return add(path, AE_IFDIR, mode, {});
  }
  Result<void> file(const std::string& path, mode_t mode, std::string_view content) {
    return add(path, AE_IFREG, mode, content);
  }
  Result<void> character_device(const std::string& path, mode_t mode, unsigned major,
                                unsigned minor) {
    major_ = major;
    minor_ = minor;
    return add(path, AE_IFCHR, mode, {});
  }
  Result<void> finish() {
    return archive_write_close(archive_.get()) == ARCHIVE_OK ? Result<void>{} : failed();
  }

 private:
  Result<void> failed() {
    const int number = archive_errno(archive_.get());
    if (number > 0) {
      return fail(Error::from_errno(number, "write the initramfs"));
    }
    const char* message = archive_error_string(archive_.get());
    return fail(ErrorCode::kInternal,
                fmt::format("write the initramfs: {}", message == nullptr ? "unknown" : message));
  }

  Result<void> add(const std::string& path, unsigned type, mode_t mode, std::string_view content) {
    const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                         archive_entry_free);
    archive_entry_set_pathname(entry.get(), path.c_str());
    archive_entry_set_filetype(entry.get(), type);
    archive_entry_set_perm(entry.get(), mode);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_uid(entry.get(), 0);
    archive_entry_set_gid(entry.get(), 0);
    archive_entry_set_nlink(entry.get(), 1);
    archive_entry_set_ino64(entry.get(), ++inode_);
    if (type == AE_IFCHR) {
      archive_entry_set_rdevmajor(entry.get(), major_);
      archive_entry_set_rdevminor(entry.get(), minor_);
    }
    if (archive_write_header(archive_.get(), entry.get()) != ARCHIVE_OK) {
      return failed();
    }
    if (!content.empty() && archive_write_data(archive_.get(), content.data(), content.size()) !=
                                static_cast<la_ssize_t>(content.size())) {
      return failed();
    }
    return {};
  }

  std::unique_ptr<archive, int (*)(archive*)> archive_;
  unsigned major_ = 0;
  unsigned minor_ = 0;
  la_int64_t inode_ = 0;
};

Result<void> check_spec(const InitramfsSpec& spec) {
  const std::string& release = spec.kernel_release;
  if (release.empty() || release.starts_with('.') || release.find('/') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("build an initramfs: \"{}\" is no kernel release", release));
  }
  for (const InitramfsFile& file : spec.files) {
    if (!file.target.starts_with('/') || file.target.ends_with('/')) {
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("build an initramfs: \"{}\" is no absolute path of a file", file.target));
    }
  }
  return {};
}

Result<void> add_identity(base::Sha256& key, const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, fmt::format("build an initramfs from {}", path)));
  }
  key.field(path);
  key.size_and_mtime(status);
  return {};
}

Result<std::string> key_of(const InitramfsSpec& spec, const std::string& directory) {
  base::Sha256 key;
  key.field(kCacheVersion);
  key.field(directory);
  SPORE_TRY(add_identity(key, spec.init_path));
  if (!spec.modules.empty() || !spec.optional_modules.empty()) {
    // depmod renews the index whenever a module changes.
    SPORE_TRY(add_identity(key, directory + "/modules.dep"));
  }
  for (const auto* names : {&spec.modules, &spec.optional_modules}) {
    key.field(std::uint64_t{names->size()});
    for (const std::string& name : *names) {
      key.field(name);
    }
  }
  for (const InitramfsFile& file : spec.files) {
    SPORE_TRY(add_identity(key, file.source));
    key.field(file.target);
    key.field(std::uint64_t{file.mode});
  }
  return key.finish();
}

Result<void> write_files(CpioWriter& cpio, const std::vector<InitramfsFile>& files) {
  std::map<std::string, const InitramfsFile*> sorted;
  std::set<std::string> directories;
  for (const InitramfsFile& file : files) {
    const std::string path = file.target.substr(1);
    sorted[path] = &file;
    for (auto at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
      directories.insert(path.substr(0, at));
    }
  }
  for (const std::string& path : directories) {
    SPORE_TRY(cpio.directory(path));
  }
  for (const auto& [path, file] : sorted) {
    SPORE_ASSIGN(const std::string content, read_file(file->source, kMaxFileBytes));
    SPORE_TRY(cpio.file(path, static_cast<mode_t>(file->mode & 07777), content));
  }
  return {};
}

Result<void> write_initramfs(const InitramfsSpec& spec, const std::string& directory, int fd) {
  CpioWriter cpio(fd);
  for (const char* path : {"dev", "modules", "newroot", "proc", "run", "sys"}) {
    SPORE_TRY(cpio.directory(path));
  }
  // The kernel opens it for init before anything could mount a devtmpfs.
  SPORE_TRY(cpio.character_device("dev/console", 0600, 5, 1));
  SPORE_ASSIGN(const std::string init, read_file(spec.init_path, kMaxFileBytes));
  SPORE_TRY(cpio.file("init", 0755, init));
  std::vector<std::string> modules;
  if (!spec.modules.empty() || !spec.optional_modules.empty()) {
    SPORE_ASSIGN(modules, resolve_modules(directory, spec.modules, spec.optional_modules));
  }
  int number = 0;
  for (const std::string& module : modules) {
    const std::string path = fmt::format("{}/{}", directory, module);
    SPORE_ASSIGN(const std::string packed, read_file(path, kMaxModuleBytes));
    SPORE_ASSIGN(const std::string object, unpack(packed, 0, kMaxModuleBytes, path));
    SPORE_TRY(
        cpio.file(fmt::format("modules/{:03}-{}.ko", number++, module_name(module)), 0644, object));
  }
  SPORE_TRY(write_files(cpio, spec.files));
  return cpio.finish();
}

}  // namespace

Result<std::vector<std::string>> resolve_modules(const std::string& directory,
                                                 const std::vector<std::string>& modules,
                                                 const std::vector<std::string>& optional_modules) {
  SPORE_ASSIGN(ModuleIndex index, ModuleIndex::read(directory));
  for (const std::string& name : modules) {
    if (!index.add(module_name(name))) {
      return fail(
          ErrorCode::kNotFound,
          fmt::format("find kernel module {} in {}: it, or a module it needs, is not there; "
                      "install the kernel's full package (linux-image-amd64)",
                      name, directory));
    }
  }
  for (const std::string& name : optional_modules) {
    index.add(module_name(name));
  }
  return index.take_files();
}

Result<std::string> build_initramfs(const InitramfsSpec& spec, const Cache& cache) {
  SPORE_TRY(check_spec(spec));
  const std::string directory = fmt::format("{}/{}", spec.modules_root, spec.kernel_release);
  SPORE_ASSIGN(const std::string key, key_of(spec, directory));
  return cache.get(fmt::format("{}.initramfs", key),
                   [&](int fd) { return write_initramfs(spec, directory, fd); });
}

Result<std::string> build_initramfs(const InitramfsSpec& spec) {
  SPORE_ASSIGN(const Cache cache, Cache::open());
  return build_initramfs(spec, cache);
}

}  // namespace spore::image
