// Staging: a directory in the making, beside the place where it will be. It is published by one
// rename; one that is destroyed before leaves nothing.
// Threads: one at a time, but any number may write below path().
#pragma once

#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::snapshot {

class Staging {
 public:
  // `final_path` must not exist, its parent directory must. `what` begins Errors: "forking a
  // spore".
  static Result<Staging> create(const std::string& final_path, std::string_view what);
  Staging(Staging&& other) noexcept;
  Staging& operator=(Staging&&) = delete;
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  ~Staging();

  [[nodiscard]] const std::string& path() const noexcept { return staging_; }
  [[nodiscard]] const std::string& final_path() const noexcept { return final_path_; }
  // Waits until all of it is on disk, once for all files.
  Result<void> sync();
  // Renames it; all of it is on disk.
  Result<void> publish();

 private:
  Staging(std::string final_path, std::string staging)
      : final_path_(std::move(final_path)), staging_(std::move(staging)) {}

  std::string final_path_;  // absolute
  std::string staging_;     // empty: published, or moved from
};

// Absolute, without "." and "..", without a slash at the end.
std::string absolute_path(const std::string& path);
// Is there something of that name? A link to nowhere is something.
bool is_there(const std::string& path);
// "<directory>/.<name>.<random>.tmp": where something is made before it is renamed to `path`.
std::string staging_path(const std::string& path);
// Publishes a directory or a file. kInvalidArgument: `path` is there already.
Result<void> rename_new(const std::string& staging, const std::string& path);
// Whether it is a name as staging_path() makes them.
bool is_staging_name(std::string_view file_name);

}  // namespace spore::snapshot
