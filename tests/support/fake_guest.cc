// spore_guest.h for programs that run in a FakeSession: what a machine's agent tells, told by
// fake_fixture_point().
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "spore_guest.h"
#include "support/fake_fixture.h"

namespace {

spore::testing::FakeFork g_fork;
std::uint64_t g_number = 0;

}  // namespace

int spore_fixture_point(spore_generation* out) {
  std::fflush(nullptr);
  g_fork = spore::testing::fake_fixture_point();
  g_number += g_fork.forked ? 1 : 0;
  if (out != nullptr) {
    *out = {};
    out->number = g_number;
    out->shard_index = static_cast<std::uint32_t>(g_fork.shard_index);
    out->shard_count = static_cast<std::uint32_t>(g_fork.shard_count);
  }
  return 0;
}

int spore_generation_get(spore_generation*) {
  errno = ENOENT;
  return -1;
}

int spore_failure_point() {
  return 0;
}

long spore_generation_user(const char* key, char* buffer, std::size_t size) {
  const auto found = g_fork.user.find(key);
  if (found == g_fork.user.end()) {
    errno = ENOENT;
    return -1;
  }
  std::snprintf(buffer, size, "%s", found->second.c_str());
  return static_cast<long>(found->second.size());
}
