// RAM that is loaded as it is touched, through the windows of machines and through its image.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/files.h"
#include "memory/memory_file.h"
#include "memory/ram.h"
#include "support/fake_chunks.h"

namespace spore::memory {
namespace {

using ::testing::ElementsAre;
using testing::FakeChunks;
using ::testing::HasSubstr;

// Four chunks and a half: one with all its pages, one with some, one with none, one whose last
// pages are there; half of one with its first.
constexpr std::size_t kPages = 4 * kPagesPerChunk + kPagesPerChunk / 2;
constexpr std::size_t kFull = 0;
constexpr std::size_t kSome = kPagesPerChunk;
constexpr std::size_t kNone = 2 * kPagesPerChunk;
constexpr std::size_t kEnd = 4 * kPagesPerChunk - 3;
constexpr std::size_t kHalf = 4 * kPagesPerChunk;
constexpr char kBad[] = "chunk 1 (sha256 ab12): its bytes do not match its name";
const std::vector<RamPiece> kLayout{{0, kPages* kPageSize}};

std::vector<std::byte> some_ram(int salt = 0) {
  std::vector<std::byte> ram(kPages * kPageSize);
  const auto fill = [&](std::size_t page) {
    for (std::size_t i = 0; i < kPageSize; ++i) {
      ram[page * kPageSize + i] = static_cast<std::byte>(1 + (page * 7 + i + salt) % 255);
    }
  };
  for (std::size_t page = kFull; page < kFull + kPagesPerChunk; ++page) {
    fill(page);
  }
  for (std::size_t page = kSome; page < kSome + kPagesPerChunk; page += 5) {
    fill(page);
  }
  for (std::size_t page = kEnd; page < kHalf + 10; ++page) {
    fill(page);
  }
  return ram;
}

std::byte* window(const Ram& ram) {
  return ram.memory().regions().front().bytes.data();
}
std::span<const std::byte> page_of(std::span<const std::byte> ram, std::size_t page) {
  return ram.subspan(page * kPageSize, kPageSize);
}
bool equal(const std::byte* left, const std::byte* right) {
  return std::memcmp(left, right, kPageSize) == 0;
}
int first_byte(const Ram& ram, std::size_t page) {
  return static_cast<int>(*static_cast<volatile std::byte*>(window(ram) + page * kPageSize));
}
std::unique_ptr<Ram> loaded(const std::shared_ptr<const RamImage>& image) {
  auto ram = Ram::reserve(kLayout).value();
  EXPECT_TRUE(ram->load(image).value().anew);
  return ram;
}
void write_as_guest(Ram& ram, std::size_t page, std::uint8_t value) {
  std::memset(window(ram) + page * kPageSize, value, 8);
  ram.written()->add(page);
}

class LazyRamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    image_ = RamImage::lazy(ram_.size(), chunks_->list(), chunks_).value();
    if (const auto& why = image_->fill()->why_eager()) {
      GTEST_SKIP() << why->message();
    }
  }
  // All of a window, page by page.
  void expect_right(const Ram& ram) const {
    for (std::size_t page = 0; page < kPages; ++page) {
      ASSERT_TRUE(equal(window(ram) + page * kPageSize, page_of(ram_, page).data())) << page;
    }
  }
  [[nodiscard]] std::uint64_t allocated() const { return allocated_bytes(image_->base_fd()); }
  [[nodiscard]] std::uint64_t chunks_loaded() const {
    return image_->fill()->counters().chunks_loaded;
  }
  static std::uint64_t bytes_in(const std::vector<ChunkPages>& chunks) {
    std::uint64_t bytes = 0;
    for (const ChunkPages& chunk : chunks) {
      bytes += chunk.pages.count() * kPageSize;
    }
    return bytes;
  }

  const std::vector<std::byte> ram_ = some_ram();
  const std::shared_ptr<FakeChunks> chunks_ = std::make_shared<FakeChunks>(ram_);
  std::shared_ptr<const RamImage> image_;
};

TEST_F(LazyRamTest, EveryPageIsAsItWas) {
  const auto ram = loaded(image_);
  EXPECT_EQ(chunks_loaded(), 0U);
  expect_right(*ram);
  const FillCounters counters = image_->fill()->counters();
  EXPECT_EQ(counters.chunks_loaded, 4U);
  EXPECT_EQ(counters.bytes_loaded, bytes_in(chunks_->list()));
  EXPECT_GE(counters.faults_served, 5U);
}

TEST_F(LazyRamTest, AChunkThatIsNotTouchedIsNotLoaded) {
  const auto ram = loaded(image_);
  EXPECT_NE(first_byte(*ram, kSome + 5), 0);
  EXPECT_EQ(first_byte(*ram, kFull + kPagesPerChunk + 1), 0);  // not there, in a chunk that is
  EXPECT_EQ(first_byte(*ram, kNone + 1), 0);
  EXPECT_EQ(chunks_loaded(), 1U);
  EXPECT_EQ(chunks_->loads(1), 1);
}

TEST_F(LazyRamTest, ZerosTakeNoMemory) {
  const auto ram = loaded(image_);
  for (std::size_t page = 0; page < kPages; ++page) {
    if (!image_->fill()->has(page)) {
      ASSERT_EQ(first_byte(*ram, page), 0);
      ASSERT_EQ(*image_->page(page), std::byte{0});
    }
  }
  EXPECT_EQ(allocated(), 0U);
  window(*ram)[(kNone + 7) * kPageSize] = std::byte{1};
  EXPECT_EQ(allocated(), 0U);
  expect_right(*loaded(image_));
  EXPECT_EQ(allocated(), bytes_in(chunks_->list()));
}

TEST_F(LazyRamTest, MachinesShareWhatTheyRead) {
  const auto one = loaded(image_);
  const auto two = loaded(image_);
  for (std::size_t page = 0; page < kPages; ++page) {
    if (image_->fill()->has(page)) {
      ASSERT_EQ(first_byte(*one, page), first_byte(*two, page));
    }
  }
  EXPECT_EQ(one->private_bytes().value(), 0U);
  EXPECT_EQ(two->private_bytes().value(), 0U);
  EXPECT_EQ(chunks_loaded(), 4U);
  write_as_guest(*one, kSome, 77);
  EXPECT_EQ(one->private_bytes().value(), kPageSize);
  EXPECT_TRUE(equal(window(*two) + kSome * kPageSize, page_of(ram_, kSome).data()));
}

TEST_F(LazyRamTest, ManyThreadsLoadEachChunkOnce) {
  constexpr int kThreads = 8;
  const auto one = loaded(image_);
  const auto two = loaded(image_);
  std::latch together(kThreads);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(static_cast<unsigned>(i));
      const Ram& ram = i % 2 == 0 ? *one : *two;
      together.arrive_and_wait();
      for (int touch = 0; touch < 5000; ++touch) {
        const std::size_t page = random() % kPages;
        wrong += equal(window(ram) + page * kPageSize, page_of(ram_, page).data()) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
  for (const ChunkPages& chunk : chunks_->list()) {
    EXPECT_EQ(chunks_->loads(chunk.chunk), 1);
  }
}

TEST_F(LazyRamTest, TheKernelsOwnAccessesWaitAsWell) {
  const auto ram = loaded(image_);
  const auto file = create_memory_file(kPages * kPageSize).value();
  ASSERT_TRUE(base::write_all_at(file.get(), ram->memory().regions().front().bytes, 0, "the file"));
  std::vector<std::byte> copy(kPages * kPageSize);
  ASSERT_EQ(::pread(file.get(), copy.data(), copy.size(), 0), static_cast<ssize_t>(copy.size()));
  EXPECT_EQ(copy, ram_);
}

// The kernel does, for a machine that is over. In between the window is inaccessible.
int first_byte_as_kernel(const Ram& ram, std::size_t page) {
  const auto file = create_memory_file(kPageSize).value();
  while (::pwrite(file.get(), window(ram) + page * kPageSize, kPageSize, 0) < 0) {
    SPORE_CHECK(errno == EFAULT);
  }
  std::uint8_t byte = 0;
  EXPECT_EQ(::pread(file.get(), &byte, 1, 0), 1);
  return byte;
}

TEST_F(LazyRamTest, AWindowMayBeMappedAnewWhileSomebodyWaits) {
  constexpr std::size_t kPage = kSome + 5;
  const std::vector<std::byte> other_ram = some_ram(100);
  const auto first = static_cast<int>(page_of(ram_, kPage)[0]);
  const auto second = static_cast<int>(page_of(other_ram, kPage)[0]);
  for (int round = 0; round < 50; ++round) {
    const auto chunks = std::make_shared<FakeChunks>(ram_);
    const auto other_chunks = std::make_shared<FakeChunks>(other_ram);
    const auto image = RamImage::lazy(ram_.size(), chunks->list(), chunks).value();
    const auto other = RamImage::lazy(ram_.size(), other_chunks->list(), other_chunks).value();
    const auto ram = loaded(image);
    const bool held = round % 2 == 0;
    chunks->hold(held);
    std::atomic<int> got{-1};
    std::thread reader([&] { got = first_byte_as_kernel(*ram, kPage); });
    if (held) {
      chunks->await_load(1);
    }
    ASSERT_TRUE(ram->load(other));
    reader.join();
    EXPECT_THAT(got.load(), ::testing::AnyOf(first, second));
    EXPECT_TRUE(!held || got == second);
    chunks->hold(false);
    EXPECT_EQ(first_byte(*ram, kPage), second);
    ASSERT_TRUE(ram->load(image));
    expect_right(*ram);
  }
}

TEST_F(LazyRamTest, AWindowMayGoWhileItsChunkIsLoaded) {
  chunks_->hold(true);
  const std::uint32_t page = kSome;
  {
    const auto ram = loaded(image_);
    image_->prefetch({&page, 1});
    chunks_->await_load(1);
  }
  chunks_->hold(false);
  ASSERT_TRUE(image_->ensure({&page, 1}));
  EXPECT_TRUE(equal(image_->page(page), page_of(ram_, page).data()));
}

// Of one machine: what it was told, and what it read then.
struct Victim {
  explicit Victim(const std::shared_ptr<const RamImage>& image) : ram(loaded(image)) {
    ram->on_lost_page([this](const Error& error) {
      if (message.empty()) {
        message = error.message();
      }
      told = true;
    });
  }
  ~Victim() { ram->on_lost_page({}); }
  // Whether the machine was told before the read was over.
  bool loses(std::size_t page) {
    bool first = false;
    std::thread reader([&] {
      EXPECT_EQ(first_byte(*ram, page), 0);
      first = told;
    });
    reader.join();
    return first;
  }
  std::string message;  // the first
  std::atomic<bool> told{false};
  std::unique_ptr<Ram> ram;
};

TEST_F(LazyRamTest, WhoTouchesABadChunkIsToldFirst) {
  chunks_->refuse(1, kBad);
  Victim one(image_);
  Victim two(image_);
  EXPECT_TRUE(one.loses(kSome + 10));
  EXPECT_EQ(one.message, kBad);
  EXPECT_FALSE(two.told);
  EXPECT_EQ(allocated(), 0U);
  EXPECT_TRUE(two.loses(kSome + 10));
  EXPECT_EQ(two.message, kBad);
  one.told = false;
  EXPECT_TRUE(one.loses(kSome + 15));
  EXPECT_EQ(chunks_->loads(1), 1);

  const Victim three(image_);
  for (const std::size_t page : {kFull + 3, kSome + 1, kNone, kEnd, kHalf}) {
    EXPECT_TRUE(equal(window(*three.ram) + page * kPageSize, page_of(ram_, page).data())) << page;
  }
  EXPECT_FALSE(three.told);
}

TEST_F(LazyRamTest, AllWhoWaitForABadChunkAreTold) {
  chunks_->refuse(1, kBad);
  chunks_->hold(true);
  Victim one(image_);
  Victim two(image_);
  std::thread first([&] { EXPECT_TRUE(one.loses(kSome)); });
  std::thread second([&] { EXPECT_TRUE(two.loses(kSome + 5)); });
  chunks_->await_load(1);
  chunks_->hold(false);
  first.join();
  second.join();
}

TEST_F(LazyRamTest, AWindowThatLostAPageIsMappedAnew) {
  chunks_->refuse(1, kBad);
  Victim victim(image_);
  EXPECT_TRUE(victim.loses(kSome));
  EXPECT_TRUE(victim.ram->load(image_).value().anew);
  victim.told = false;
  EXPECT_TRUE(victim.loses(kSome));
  EXPECT_FALSE(victim.ram->capture());
}

TEST_F(LazyRamTest, ALayerOnALazyImageIsRight) {
  const auto ram = loaded(image_);
  for (const std::size_t page : {kFull + 1, kSome, kSome + 1, kNone + 3, kHalf}) {
    write_as_guest(*ram, page, 99);
  }
  ram->written()->add(kSome + 5);  // noted, never written
  const auto layer = ram->capture().value();
  EXPECT_EQ(layer->own_bytes(), 5 * kPageSize);
  EXPECT_EQ(layer->parent(), image_);
  const auto child = loaded(layer);
  for (std::size_t page = 0; page < kPages; ++page) {
    const auto number = static_cast<std::uint32_t>(page);
    ASSERT_TRUE(layer->ensure({&number, 1}));
    ASSERT_TRUE(equal(window(*child) + page * kPageSize, layer->page(page))) << page;
    ASSERT_TRUE(equal(window(*ram) + page * kPageSize, layer->page(page))) << page;
  }
  EXPECT_EQ(first_byte(*child, kNone + 3), 99);
  EXPECT_FALSE(child->load(image_).value().anew);
  expect_right(*child);
  EXPECT_FALSE(child->load(layer).value().anew);
  EXPECT_EQ(first_byte(*child, kNone + 3), 99);
}

TEST_F(LazyRamTest, MappingALayerLoadsNothing) {
  std::shared_ptr<const RamImage> layer;
  {
    const auto file = create_memory_file(2 * kPageSize).value();
    const std::vector<std::uint32_t> pages{kFull + 7, kSome + 5};
    ASSERT_TRUE(base::write_all_at(file.get(), std::vector<std::byte>(2 * kPageSize, std::byte{9}),
                                   0, "the file"));
    layer = RamImage::layer_of(image_, base::UniqueFd(::dup(file.get())), pages).value();
  }
  const auto ram = loaded(layer);
  EXPECT_EQ(first_byte(*ram, kFull + 7), 9);
  EXPECT_EQ(first_byte(*ram, kSome + 5), 9);
  EXPECT_EQ(chunks_loaded(), 0U);
}

TEST_F(LazyRamTest, ReadingAnImageFailsWhereAChunkIsBad) {
  chunks_->refuse(1, kBad);
  const auto ram = loaded(image_);
  const std::uint32_t bad = kSome;
  EXPECT_THAT(image_->ensure({&bad, 1}).error().message(), HasSubstr(kBad));
  ram->written()->add(kSome);
  EXPECT_THAT(ram->capture().error().message(), HasSubstr(kBad));
  EXPECT_THAT(ram->load(image_).error().message(), HasSubstr(kBad));
  const auto saved = image_->for_each_own_page(
      [](std::uint32_t, std::span<const std::byte>) { return Result<void>(); });
  EXPECT_THAT(saved.error().message(), HasSubstr(kBad));
}

TEST_F(LazyRamTest, AWorkingSetIsLoadedBeforeItIsTouched) {
  chunks_->refuse(1, kBad);
  image_->record({{kFull + 1, kSome}, {kHalf + 1, kNone}});
  Victim victim(image_);
  chunks_->await_load(0);
  chunks_->await_load(1);
  chunks_->await_load(4);
  EXPECT_EQ(chunks_->loads(3), 0);
  EXPECT_FALSE(victim.told);
  const std::vector<std::uint32_t> pages{kFull + 1, kHalf + 1};
  ASSERT_TRUE(image_->ensure(pages));
  EXPECT_TRUE(image_->in_place(kFull + 2));
  EXPECT_FALSE(image_->in_place(kSome));
  // The next machine has them mapped from the start, but for the bad one.
  Victim next(image_);
  EXPECT_FALSE(next.told);
  EXPECT_TRUE(next.loses(kSome));
}

TEST_F(LazyRamTest, ItsOwnPagesAreThoseOfTheList) {
  std::vector<std::uint32_t> pages;
  ASSERT_TRUE(image_->for_each_own_page([&](std::uint32_t page, std::span<const std::byte> bytes) {
    EXPECT_TRUE(equal(bytes.data(), page_of(ram_, page).data())) << page;
    pages.push_back(page);
    return Result<void>();
  }));
  EXPECT_EQ(pages.size() * kPageSize, bytes_in(chunks_->list()));
  EXPECT_TRUE(std::is_sorted(pages.begin(), pages.end()));
}

TEST(EagerRamTest, WithoutUserfaultEverythingIsLoadedBefore) {
  const std::vector<std::byte> bytes = some_ram();
  const auto chunks = std::make_shared<FakeChunks>(bytes);
  const auto image =
      RamImage::lazy(bytes.size(), chunks->list(), chunks, {.use_userfault = false}).value();
  ASSERT_TRUE(image->fill()->why_eager().has_value());
  EXPECT_EQ(image->fill()->counters().chunks_loaded, 4U);
  const auto ram = loaded(image);
  for (std::size_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(equal(window(*ram) + page * kPageSize, page_of(bytes, page).data())) << page;
    ASSERT_TRUE(equal(image->page(page), page_of(bytes, page).data())) << page;
  }
  write_as_guest(*ram, kSome, 99);
  const auto layer = ram->capture().value();
  EXPECT_EQ(layer->own_bytes(), kPageSize);
  EXPECT_EQ(first_byte(*loaded(layer), kSome), 99);
  EXPECT_EQ(image->fill()->counters().faults_served, 0U);
}

TEST(EagerRamTest, WithoutUserfaultABadChunkMakesNoImage) {
  const std::vector<std::byte> bytes = some_ram();
  const auto chunks = std::make_shared<FakeChunks>(bytes);
  chunks->refuse(1, kBad);
  const auto image = RamImage::lazy(bytes.size(), chunks->list(), chunks, {.use_userfault = false});
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().message(), kBad);
}

TEST(LazyListTest, AListThatMakesNoSenseIsRefused) {
  const auto chunks = std::make_shared<FakeChunks>(some_ram());
  const auto refused = [&](std::uint64_t size, const std::vector<ChunkPages>& list) {
    const auto image = RamImage::lazy(size, list, chunks);
    return !image && image.error().code() == ErrorCode::kCorrupt;
  };
  const ChunkPages all{0, std::bitset<kPagesPerChunk>().set()};
  const ChunkPages last{4, std::bitset<kPagesPerChunk>().set(255)};
  const ChunkPages behind{4, std::bitset<kPagesPerChunk>().set(256)};
  constexpr std::uint64_t kSize = kPages * kPageSize;
  EXPECT_FALSE(refused(kSize, {all, last}));
  EXPECT_TRUE(refused(kSize, {last, all}));
  EXPECT_TRUE(refused(kSize, {all, all}));
  EXPECT_TRUE(refused(kSize, {all, behind}));
  EXPECT_TRUE(refused(kSize, {all, {5, all.pages}}));
  EXPECT_TRUE(refused(kSize, {{0xffffffff, all.pages}}));
  EXPECT_TRUE(refused(kSize + 1, {all}));
}

}  // namespace
}  // namespace spore::memory
