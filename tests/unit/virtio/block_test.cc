#include "virtio/block.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>

#include "support/state_round_trip.h"
#include "support/virtio_driver_fake.h"
#include "virtio/mmio_transport.h"

namespace spore::virtio {
namespace {

using testing::Buffer;
using testing::CountingLine;
using testing::GuestRam;
using testing::VirtioDriverFake;

class MemoryBackend final : public BlockBackend {
 public:
  MemoryBackend(std::string& disk, bool writable) : disk_(disk), writable_(writable) {}
  std::uint64_t size_bytes() const noexcept override { return disk_.size(); }
  bool writable() const noexcept override { return writable_; }
  Result<void> read(std::uint64_t offset, std::span<const std::span<std::byte>> into) override {
    if (broken) {
      return fail(ErrorCode::kInternal, "broken");
    }
    for (const auto piece : into) {
      std::memcpy(piece.data(), disk_.data() + offset, piece.size());
      offset += piece.size();
    }
    return {};
  }
  Result<void> write(std::uint64_t offset, std::span<const std::span<std::byte>> from) override {
    for (const auto piece : from) {
      std::memcpy(disk_.data() + offset, piece.data(), piece.size());
      offset += piece.size();
    }
    return {};
  }
  Result<void> flush() override {
    ++flushes;
    return {};
  }
  bool broken = false;
  unsigned flushes = 0;

 private:
  std::string& disk_;
  bool writable_;
};

class BlockTest : public ::testing::TestWithParam<bool> {
 protected:
  BlockTest() : disk_(64 * kSectorSize, 'd') {
    for (std::size_t i = 0; i < disk_.size(); ++i) {
      disk_[i] = static_cast<char>('a' + i / kSectorSize);
    }
    auto backend = std::make_unique<MemoryBackend>(disk_, GetParam());
    backend_ = backend.get();
    auto device =
        std::make_unique<BlockDevice>(std::move(backend), "image-0123456789abcdef", BlockState{});
    device_ = device.get();
    transport_ = std::move(*MmioTransport::create(std::move(device), ram_.memory(),
                                                  std::make_unique<CountingLine>(edges_), {}));
    driver_ = std::make_unique<VirtioDriverFake>(*transport_, ram_);
    EXPECT_TRUE(driver_->start());
    status_ = driver_->allocate(1);
    header_ = driver_->allocate(sizeof(BlockRequestHeader));
  }

  // The status byte, and in used_ what the device says it wrote.
  int request(std::uint32_t type, std::uint64_t sector, std::vector<Buffer> data) {
    EXPECT_TRUE(ram_.memory().store(header_, BlockRequestHeader{type, 0, sector}));
    EXPECT_TRUE(ram_.memory().store(status_, std::uint8_t{0xee}));
    data.insert(data.begin(), {header_, sizeof(BlockRequestHeader)});
    data.push_back({status_, 1, true});
    driver_->add(0, data);
    driver_->kick(0);
    const auto used = driver_->take_used(0);
    EXPECT_TRUE(used);
    used_ = used->length;
    return *ram_.memory().load<std::uint8_t>(status_);
  }

  GuestRam ram_{4 << 20};
  std::string disk_;
  MemoryBackend* backend_ = nullptr;
  BlockDevice* device_ = nullptr;
  unsigned edges_ = 0;
  std::unique_ptr<MmioTransport> transport_;
  std::unique_ptr<VirtioDriverFake> driver_;
  std::uint64_t status_ = 0;
  std::uint64_t header_ = 0;
  std::uint32_t used_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Disk, BlockTest, ::testing::Values(false, true), [](const auto& info) {
  return std::string(info.param ? "Writable" : "ReadOnly");
});

TEST_P(BlockTest, SaysWhatItIs) {
  EXPECT_EQ(driver_->read(kDeviceId), 2U);
  EXPECT_EQ(driver_->read_config<std::uint64_t>(0), 64U);
  EXPECT_EQ(driver_->read_config<std::uint32_t>(8), BlockDevice::kSizeMax);
  EXPECT_EQ(driver_->read_config<std::uint32_t>(12), BlockDevice::kSegMax);
  EXPECT_EQ((device_->features() & kBlockFeatureReadOnly) == 0, GetParam());
  EXPECT_EQ((device_->features() & kBlockFeatureFlush) != 0, GetParam());
}

TEST_P(BlockTest, ReadsIntoSeveralPieces) {
  const std::uint64_t data = driver_->allocate(2 * kSectorSize);
  EXPECT_EQ(request(kBlockIn, 3, {{data, 100, true}, {data + 100, 924, true}}), kBlockOk);
  EXPECT_EQ(used_, 2 * kSectorSize + 1);
  EXPECT_EQ(driver_->bytes_at(data, 2 * kSectorSize), disk_.substr(3 * kSectorSize, 1024));
  EXPECT_EQ(edges_, 1U);
}

TEST_P(BlockTest, WritesOnlyWhenWritable) {
  const std::string before = disk_;
  const std::uint64_t data = driver_->place(std::string(kSectorSize, 'W'));
  const int status = request(kBlockOut, 63, {{data, 500}, {data + 500, 12}});
  EXPECT_EQ(status, GetParam() ? kBlockOk : kBlockIoError);
  EXPECT_EQ(disk_,
            before.substr(0, 63 * kSectorSize) +
                (GetParam() ? std::string(kSectorSize, 'W') : before.substr(63 * kSectorSize)));
  EXPECT_EQ(request(kBlockFlush, 0, {}), kBlockOk);
  EXPECT_EQ(backend_->flushes, GetParam() ? 1U : 0U);
}

TEST_P(BlockTest, AnswersItsName) {
  const std::uint64_t data = driver_->allocate(kBlockIdSize);
  EXPECT_EQ(request(kBlockGetId, 0, {{data, kBlockIdSize, true}}), kBlockOk);
  EXPECT_EQ(driver_->bytes_at(data, kBlockIdSize), "image-0123456789abcd");
  EXPECT_EQ(request(kBlockGetId, 0, {{data, kBlockIdSize - 1, true}}), kBlockIoError);
}

TEST_P(BlockTest, RefusesWhatReachesPastTheEnd) {
  const std::uint64_t data = driver_->allocate(2 * kSectorSize);
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_EQ(request(kBlockIn, 63, {{data, 1024, true}}), kBlockIoError);
  EXPECT_EQ(request(kBlockIn, 64, {{data, 512, true}}), kBlockIoError);
  EXPECT_EQ(request(kBlockIn, huge, {{data, 512, true}}), kBlockIoError);
  EXPECT_EQ(request(kBlockIn, huge / 512, {{data, 1024, true}}), kBlockIoError);
  EXPECT_EQ(request(kBlockOut, 63, {{data, 1024}}), kBlockIoError);
  EXPECT_EQ(request(kBlockIn, 0, {{data, 511, true}}), kBlockIoError);
  EXPECT_EQ(request(kBlockIn, 0, {{data, 513, true}}), kBlockIoError);
  EXPECT_EQ(request(99, 0, {{data, 512, true}}), kBlockUnsupported);
  EXPECT_EQ(driver_->bytes_at(data, 1024), std::string(1024, '\0'));
}

TEST_P(BlockTest, RefusesMoreThanItsLimits) {
  std::vector<Buffer> data(5, {GuestRam::kBase, 4 << 20, true});
  EXPECT_EQ(request(kBlockIn, 0, data), kBlockIoError);
}

TEST_P(BlockTest, ReportsABrokenDisk) {
  backend_->broken = true;
  const std::uint64_t data = driver_->allocate(kSectorSize);
  EXPECT_EQ(request(kBlockIn, 0, {{data, 512, true}}), kBlockIoError);
  EXPECT_EQ(device_->backend_errors(), 1U);
}

TEST_P(BlockTest, ChainsWithoutRoomForAnAnswerAreDropped) {
  driver_->add(0, {{header_, 16}});
  driver_->add(0, {{header_, 8}, {status_, 1, true}});
  driver_->kick(0);
  EXPECT_EQ(driver_->take_used(0)->length, 0U);
  EXPECT_EQ(driver_->take_used(0)->length, 1U);
  EXPECT_EQ(*ram_.memory().load<std::uint8_t>(status_), kBlockIoError);
}

TEST_P(BlockTest, MutatedRequestsNeverReachOutside) {
  std::mt19937_64 random(3);  // NOLINT: the same every time
  const std::uint64_t data = driver_->allocate(4096);
  for (int i = 0; i < 20'000; ++i) {
    const auto type = static_cast<std::uint32_t>(random() % 10);
    const std::uint64_t sector = random() >> random() % 64;
    std::vector<Buffer> buffers;
    for (std::uint64_t count = random() % 3; count > 0; --count) {
      buffers.push_back({data, static_cast<std::uint32_t>(random() % 9 * 256), type != kBlockOut});
    }
    EXPECT_LE(request(type, sector, buffers), kBlockUnsupported);
  }
  EXPECT_EQ(disk_.size(), 64 * kSectorSize);
  EXPECT_TRUE(ram_.guards_intact());
}

TEST(BlockStateTest, KeepsItsForm) {
  EXPECT_EQ(testing::through_cbor(BlockState{}), BlockState{});
  testing::expect_golden(BlockState{}, "virtio_block.json");
}

class FileBlockBackendTest : public ::testing::Test {
 protected:
  FileBlockBackendTest() {
    std::string name = ::testing::TempDir() + "spore-disk-XXXXXX";
    const int fd = ::mkstemp(name.data());
    EXPECT_GE(fd, 0);
    ::close(fd);
    path_ = name;
  }
  ~FileBlockBackendTest() override { std::filesystem::remove(path_); }
  void fill(std::size_t size) {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    for (std::size_t i = 0; i < size; ++i) {
      file.put(static_cast<char>(i * 31 >> 3));
    }
  }
  std::string path_;
};

TEST_F(FileBlockBackendTest, ReadsManyPiecesAndARaggedEnd) {
  fill(100'000);
  auto backend = FileBlockBackend::open(path_, false);
  ASSERT_TRUE(backend);
  EXPECT_EQ((*backend)->size_bytes(), 100'352U);
  std::string bytes(100'352, '?');
  std::vector<std::span<std::byte>> pieces;
  auto rest = std::as_writable_bytes(std::span(bytes));
  for (std::size_t size = 1; !rest.empty(); size = size * 3 % 997 + 1) {
    pieces.push_back(rest.first(std::min(size, rest.size())));
    rest = rest.subspan(pieces.back().size());
  }
  ASSERT_TRUE((*backend)->read(0, pieces));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(bytes[i], i < 100'000 ? static_cast<char>(i * 31 >> 3) : '\0') << i;
  }
}

TEST_F(FileBlockBackendTest, WritesAndFlushes) {
  fill(1024);
  auto backend = FileBlockBackend::open(path_, true);
  ASSERT_TRUE(backend);
  std::string bytes = "0123456789";
  auto all = std::as_writable_bytes(std::span(bytes));
  const std::vector<std::span<std::byte>> pieces = {all.first(3), all.subspan(3)};
  ASSERT_TRUE((*backend)->write(1000, pieces));
  ASSERT_TRUE((*backend)->flush());
  std::ifstream file(path_, std::ios::binary);
  file.seekg(1000);
  std::string found(10, '\0');
  file.read(found.data(), 10);
  EXPECT_EQ(found, bytes);
}

TEST_F(FileBlockBackendTest, RefusesWhatIsNoDisk) {
  EXPECT_EQ(FileBlockBackend::open(path_ + ".none", false).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(FileBlockBackend::open("/dev/null", false).error().code(), ErrorCode::kInvalidArgument);
  fill(1000);
  EXPECT_EQ(FileBlockBackend::open(path_, true).error().code(), ErrorCode::kInvalidArgument);
}

TEST_F(FileBlockBackendTest, NoticesAFileThatShrank) {
  fill(4096);
  auto backend = FileBlockBackend::open(path_, false);
  ASSERT_TRUE(backend);
  fill(1024);
  std::string bytes(4096, '?');
  const std::span<std::byte> piece = std::as_writable_bytes(std::span(bytes));
  const auto result = (*backend)->read(0, std::span(&piece, 1));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), ErrorCode::kCorrupt);
}

}  // namespace
}  // namespace spore::virtio
