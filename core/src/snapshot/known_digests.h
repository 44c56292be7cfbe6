// KnownDigests: SHA-256 of files of this host that do not change, such as root images, read once:
// the answer is kept, with a proof (snapshot/proof.h), in a folder. Any thread, any process.
#pragma once

#include <string>

#include "spore/result.h"

namespace spore::snapshot {

class KnownDigests {
 public:
  // `folder` is made on first use; `key` is the host's.
  KnownDigests(std::string folder, std::string key)
      : folder_(std::move(folder)), key_(std::move(key)) {}

  [[nodiscard]] Result<std::string> of_file(const std::string& path) const;
  [[nodiscard]] const std::string& key() const noexcept { return key_; }

 private:
  std::string folder_;
  std::string key_;
};

}  // namespace spore::snapshot
