#include "snapshot/proof.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "base/check.h"
#include "base/hex.h"
#include "snapshot/document.h"

namespace spore::snapshot {

Result<std::string> make_proof(std::string_view key, int fd, std::string_view digest) {
  SPORE_CHECK(key.size() == kProofKeyBytes);
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail(Error::from_errno(errno, "proving a file"));
  }
  const std::string claim = fmt::format(
      "spore proof 1\nsha256 {}\ndevice {}\ninode {}\nsize {}\nmtime {}.{:09}\n", digest,
      status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac;
  unsigned int size = 0;
  SPORE_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                   reinterpret_cast<const unsigned char*>(claim.data()), claim.size(), mac.data(),
                   &size) != nullptr);
  return claim + "mac " + base::to_hex({reinterpret_cast<const char*>(mac.data()), size}) + "\n";
}

bool is_proof(std::string_view proof, std::string_view key, int fd, std::string_view digest) {
  const auto expected = make_proof(key, fd, digest);
  return expected && expected->size() == proof.size() &&
         CRYPTO_memcmp(expected->data(), proof.data(), proof.size()) == 0;
}

}  // namespace spore::snapshot
