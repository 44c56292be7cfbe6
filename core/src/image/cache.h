// The cache directory: files that are made once and published whole. $SPORE_CACHE_DIR, else
// $XDG_CACHE_HOME/spore, else ~/.cache/spore.
//
// Threads and processes: a key is locked while its file is made, so that two builds of the same
// thing do the work once. All locks are byte ranges of one file, "lock", so that no lock files pile
// up. A file that is being made has no name where the file system can do that (O_TMPFILE), and goes
// away with its process; elsewhere it is "<name>.tmp", and the next build removes it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/files.h"
#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::image {

using base::write_all;

class Cache;

// Holds one key. Released by the destructor, or by the end of the process.
class CacheLock {
 public:
  explicit CacheLock(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}

 private:
  base::UniqueFd fd_;
};

// A file in the making. Destroyed unpublished, it leaves nothing.
class CacheFile {
 public:
  // The lock of `name` must be held.
  static Result<CacheFile> create(const Cache& cache, std::string name);
  // The same with a name from the start, for file systems that have no O_TMPFILE.
  static Result<CacheFile> create_named(const Cache& cache, std::string name);

  CacheFile(CacheFile&& other) noexcept;
  CacheFile& operator=(CacheFile&&) = delete;
  CacheFile(const CacheFile&) = delete;
  CacheFile& operator=(const CacheFile&) = delete;
  ~CacheFile();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // Makes it `final_path`, whole and on disk, replacing what was there.
  Result<void> publish(const std::string& final_path);

 private:
  CacheFile(base::UniqueFd fd, std::string temporary_path, bool named) noexcept
      : fd_(std::move(fd)), temporary_path_(std::move(temporary_path)), named_(named) {}

  base::UniqueFd fd_;
  std::string temporary_path_;
  bool named_;
};

class Cache {
 public:
  // Finds the directory and makes it (mode 0700) if needed.
  static Result<Cache> open();
  // The same for a directory that is given.
  static Result<Cache> open_at(std::string directory);

  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  [[nodiscard]] std::string path(std::string_view name) const;

  // Waits until nobody else holds `name`, then removes what dead builds left.
  Result<CacheLock> lock(std::string_view name) const;

  // The path of the file `name`, which `build` writes into a descriptor if it is not there yet.
  Result<std::string> get(const std::string& name,
                          const std::function<Result<void>(int fd)>& build) const;

 private:
  explicit Cache(std::string directory) : directory_(std::move(directory)) {}
  void remove_stale(std::string_view own_name) const;

  std::string directory_;
};

}  // namespace spore::image
