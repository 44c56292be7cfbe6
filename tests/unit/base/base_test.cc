#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "spore/result.h"

namespace spore::base {
namespace {

Result<int> number(bool good) {
  if (!good) {
    return fail(ErrorCode::kNotFound, "no number");
  }
  return 7;
}
Result<void> check(bool good) {
  if (!good) {
    return fail(ErrorCode::kCorrupt, "bad check");
  }
  return {};
}
Result<std::unique_ptr<int>> combine(bool first, bool second) {
  SPORE_TRY(check(first));
  SPORE_ASSIGN(const int value, number(second));
  SPORE_ASSIGN(const int other, number(true));
  return std::make_unique<int>(value + other);
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(**combine(true, true), 14);
  EXPECT_EQ(combine(false, true).error().message(), "bad check");
  EXPECT_EQ(combine(true, false).error().code(), ErrorCode::kNotFound);
}

TEST(ResultTest, ErrnoChoosesTheCode) {
  const Error error = Error::from_errno(ENOENT, "opening x");
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_NE(error.message().find("opening x"), std::string::npos);
  EXPECT_EQ(Error::from_errno(ENOSPC, "writing").code(), ErrorCode::kResourceExhausted);
  EXPECT_EQ(Error::from_errno(EACCES, "writing").code(), ErrorCode::kPermissionDenied);
  EXPECT_EQ(error.with_context("booting").message(), "booting: " + error.message());
  EXPECT_EQ(error.with_context("booting").code(), ErrorCode::kNotFound);
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(UniqueFdTest, ClosesExactlyOnce) {
  const int first = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int second = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  {
    UniqueFd owner(first);
    UniqueFd other(std::move(owner));
    EXPECT_FALSE(owner.valid());  // NOLINT: moved from, and empty
    EXPECT_TRUE(is_open(first));
    other = UniqueFd(second);
    EXPECT_FALSE(is_open(first));
    EXPECT_EQ(other.get(), second);
    EXPECT_EQ(other.release(), second);
  }
  EXPECT_TRUE(is_open(second));
  UniqueFd(second).reset();
  EXPECT_FALSE(is_open(second));
}

TEST(MappingTest, OwnsItsRangeThroughMoves) {
  auto made =
      Mapping::create(8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, "mapping");
  ASSERT_TRUE(made);
  std::byte* const data = made->data();
  data[8191] = std::byte{5};
  Mapping moved(std::move(*made));
  EXPECT_EQ(made->data(), nullptr);
  EXPECT_EQ(made->size(), 0U);
  EXPECT_EQ(moved.bytes().size(), 8192U);
  EXPECT_EQ(moved.bytes()[8191], std::byte{5});
  moved = Mapping();
  EXPECT_NE(::msync(data, 4096, MS_ASYNC), 0);  // unmapped
}

TEST(MappingTest, SaysWhatItTried) {
  const auto failed = Mapping::create(4096, PROT_READ, MAP_PRIVATE, -1, 0, "mapping the disk");
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message().find("mapping the disk"), std::string::npos);
}

}  // namespace
}  // namespace spore::base
