#include "base/digest.h"

#include <openssl/evp.h>

#include <array>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "base/hex.h"

namespace spore::base {

void Sha256::Deleter::operator()(evp_md_ctx_st* context) const noexcept {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  SPORE_CHECK(context_ != nullptr);
  SPORE_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::update(std::string_view bytes) {
  SPORE_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

void Sha256::field(std::string_view text) {
  field(std::uint64_t{text.size()});
  update(text);
}

void Sha256::field(std::uint64_t number) {
  std::array<char, 8> little_endian;
  for (char& byte : little_endian) {
    byte = static_cast<char>(number & 0xff);
    number >>= 8;
  }
  update({little_endian.data(), little_endian.size()});
}

void Sha256::size_and_mtime(const struct stat& status) {
  field(static_cast<std::uint64_t>(status.st_size));
  field(static_cast<std::uint64_t>(status.st_mtim.tv_sec));
  field(static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
}

void Sha256::inode_and_ctime(const struct stat& status) {
  field(std::uint64_t{status.st_ino});
  field(static_cast<std::uint64_t>(status.st_ctim.tv_sec));
  field(static_cast<std::uint64_t>(status.st_ctim.tv_nsec));
}

std::string Sha256::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  SPORE_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
  return to_hex({reinterpret_cast<const char*>(digest.data()), size});
}

std::string sha256_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Result<std::string> sha256_of_file(int fd, std::string_view name) {
  constexpr std::size_t kBlock = 1024 * 1024;
  std::vector<char> block(kBlock);
  Sha256 hash;
  for (std::uint64_t offset = 0;;) {
    SPORE_ASSIGN(const std::size_t count,
                 read_at(fd, std::as_writable_bytes(std::span(block)), offset, name));
    if (count == 0) {
      return hash.finish();
    }
    hash.update({block.data(), count});
    offset += count;
  }
}

Result<bool> has_sha256(const std::string& path, std::uint64_t bytes, std::string_view sha256) {
  SPORE_ASSIGN(const UniqueFd fd, open_to_read(path));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != bytes) {
    return false;
  }
  SPORE_ASSIGN(const std::string found, sha256_of_file(fd.get(), path));
  return found == sha256;
}

}  // namespace spore::base
