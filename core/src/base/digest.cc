#include "base/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/check.h"

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
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
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
  off_t offset = 0;
  for (;;) {
    const ssize_t count = ::pread(fd, block.data(), block.size(), offset);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, fmt::format("read {}", name)));
    }
    if (count == 0) {
      return hash.finish();
    }
    hash.update({block.data(), static_cast<std::size_t>(count)});
    offset += count;
  }
}

}  // namespace spore::base
