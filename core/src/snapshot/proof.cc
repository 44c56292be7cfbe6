#include "snapshot/proof.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/check.h"
#include "base/digest.h"
#include "base/hex.h"

namespace spore::snapshot {
namespace {

constexpr std::string_view kEnd = "check ";

std::string beginning(std::string_view digest) {
  return fmt::format("spore proof 2\nsha256 {}\n", digest);
}

std::string end_of(std::string_view text) {
  return fmt::format("{}{}\n", kEnd, base::sha256_of(text));
}

}  // namespace

Result<std::string> make_proof(std::string_view key, int fd, std::string_view digest) {
  SPORE_CHECK(key.size() == kProofKeyBytes);
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail(Error::from_errno(errno, "proving a file"));
  }
  const std::string claim = fmt::format(
      "{}device {}\ninode {}\nsize {}\nmtime {}.{:09}\n", beginning(digest), status.st_dev,
      status.st_ino, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac;
  unsigned int size = 0;
  SPORE_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                   reinterpret_cast<const unsigned char*>(claim.data()), claim.size(), mac.data(),
                   &size) != nullptr);
  const std::string proof =
      claim + "mac " + base::to_hex({reinterpret_cast<const char*>(mac.data()), size}) + "\n";
  return proof + end_of(proof);
}

bool is_whole_proof(std::string_view proof, std::string_view digest) {
  const std::size_t end = std::min(proof.size(), proof.rfind(kEnd));
  return proof.starts_with(beginning(digest)) && proof.substr(end) == end_of(proof.substr(0, end));
}

bool is_proof(std::string_view proof, std::string_view key, int fd, std::string_view digest) {
  const auto expected = make_proof(key, fd, digest);
  return expected && expected->size() == proof.size() &&
         CRYPTO_memcmp(expected->data(), proof.data(), proof.size()) == 0;
}

}  // namespace spore::snapshot
