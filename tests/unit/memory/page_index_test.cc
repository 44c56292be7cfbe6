#include "memory/page_index.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace spore::memory {
namespace {

constexpr std::size_t kPages = 3000;  // six leaves, the last one not full

std::vector<std::size_t> difference(const PageIndex& left, const PageIndex& right) {
  std::vector<std::size_t> pages;
  PageIndex::for_each_difference(left, right, [&](std::size_t page) { pages.push_back(page); });
  return pages;
}

TEST(PageIndexTest, AnEmptyOneHasNothing) {
  const PageIndex index(kPages);
  EXPECT_EQ(index.find(0), nullptr);
  EXPECT_EQ(index.find(kPages - 1), nullptr);
  index.for_each([](const PageIndex::Entry&) { FAIL(); });
}

TEST(PageIndexTest, NewEntriesWinAndOldIndexesStayAsTheyWere) {
  const std::array<std::byte, 4> bytes{};
  const PageIndex empty(kPages);
  const std::vector<PageIndex::Entry> first{{7, &bytes[0]}, {1024, &bytes[1]}};
  const std::vector<PageIndex::Entry> second{{7, &bytes[2]}, {2999, &bytes[3]}};
  const PageIndex one = empty.with(first);
  const PageIndex two = one.with(second);

  EXPECT_EQ(empty.find(7), nullptr);
  EXPECT_EQ(one.find(7), &bytes[0]);
  EXPECT_EQ(one.find(2999), nullptr);
  EXPECT_EQ(two.find(7), &bytes[2]);
  EXPECT_EQ(two.find(1024), &bytes[1]);
  EXPECT_EQ(two.find(2999), &bytes[3]);

  std::vector<std::uint32_t> pages;
  two.for_each([&](const PageIndex::Entry& entry) { pages.push_back(entry.page); });
  EXPECT_EQ(pages, (std::vector<std::uint32_t>{7, 1024, 2999}));
}

TEST(PageIndexTest, ADifferenceIsEveryPageThatLiesElsewhere) {
  const std::array<std::byte, 4> bytes{};
  const PageIndex empty(kPages);
  const std::vector<PageIndex::Entry> first{{7, &bytes[0]}, {1024, &bytes[1]}};
  const std::vector<PageIndex::Entry> second{{7, &bytes[2]}, {2999, &bytes[3]}};
  const PageIndex one = empty.with(first);
  const PageIndex two = one.with(second);
  EXPECT_EQ(difference(one, one), std::vector<std::size_t>{});
  EXPECT_EQ(difference(one, two), (std::vector<std::size_t>{7, 2999}));
  EXPECT_EQ(difference(two, empty), (std::vector<std::size_t>{7, 1024, 2999}));
}

}  // namespace
}  // namespace spore::memory
