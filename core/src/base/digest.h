// SHA-256 of bytes and of lists of fields (cache keys).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "spore/result.h"

struct evp_md_ctx_st;

namespace spore::base {

class Sha256 {
 public:
  Sha256();

  void update(std::string_view bytes);

  // For keys: each field carries its length, so that no two lists of fields hash alike.
  void field(std::string_view text);
  void field(std::uint64_t number);
  // What tells a changed file without reading it. Size and mtime are the same through a shared
  // file system; inode and ctime, which nobody can set back, are not.
  void size_and_mtime(const struct stat& status);
  void inode_and_ctime(const struct stat& status);

  // The digest in hexadecimal. The object is used up.
  [[nodiscard]] std::string finish();

 private:
  struct Deleter {
    void operator()(evp_md_ctx_st* context) const noexcept;
  };
  std::unique_ptr<evp_md_ctx_st, Deleter> context_;
};

[[nodiscard]] std::string sha256_of(std::string_view bytes);

// Digest of all bytes behind a descriptor, from offset 0; `name` is for the Error.
Result<std::string> sha256_of_file(int fd, std::string_view name);

// Whether a file has so many bytes, with this digest. One of another size is not read.
Result<bool> has_sha256(const std::string& path, std::uint64_t bytes, std::string_view sha256);

}  // namespace spore::base
