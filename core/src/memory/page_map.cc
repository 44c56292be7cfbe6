#include "memory/page_map.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "base/unique_fd.h"

namespace spore::memory {
namespace {

constexpr std::uint64_t kFileOrSharedAnonymous = std::uint64_t{1} << 61;
constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;

bool is_private(std::uint64_t entry) {
  return (entry & (kPresent | kSwapped)) != 0 && (entry & kFileOrSharedAnonymous) == 0;
}

bool is_present(std::uint64_t entry) {
  return (entry & kPresent) != 0;
}

Result<void> for_each_run(std::span<const std::byte> range, bool (*wanted_entry)(std::uint64_t),
                          const std::function<void(std::size_t, std::size_t)>& found) {
  constexpr std::string_view kAttempted = "reading /proc/self/pagemap";
  const base::UniqueFd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!map.valid()) {
    return fail(Error::from_errno(errno, kAttempted));
  }
  const std::uint64_t first = reinterpret_cast<std::uintptr_t>(range.data()) / kPageSize;
  const std::size_t count = range.size() / kPageSize;
  std::array<std::uint64_t, 8192> entries;
  std::size_t run_start = 0;
  bool in_run = false;
  for (std::size_t page = 0; page < count;) {
    const std::size_t wanted = std::min(entries.size(), count - page) * sizeof(entries[0]);
    const ssize_t got = ::pread(map.get(), entries.data(), wanted,
                                static_cast<off_t>((first + page) * sizeof(entries[0])));
    if (got <= 0) {
      return fail(Error::from_errno(got < 0 ? errno : EIO, kAttempted));
    }
    const std::size_t read_pages = static_cast<std::size_t>(got) / sizeof(entries[0]);
    for (std::size_t i = 0; i < read_pages; ++i) {
      const bool now = wanted_entry(entries[i]);
      if (now && !in_run) {
        run_start = page + i;
      } else if (!now && in_run) {
        found(run_start * kPageSize, (page + i - run_start) * kPageSize);
      }
      in_run = now;
    }
    page += read_pages;
  }
  if (in_run) {
    found(run_start * kPageSize, (count - run_start) * kPageSize);
  }
  return {};
}

// PAGEMAP_SCAN of Linux 6.7, which headers of older kernels do not have. Unlike pagemap itself it
// tells the kernel's page of zeros, which a lazy image's mappings have many of, from other pages.
struct ScannedRun {
  std::uint64_t start, end, categories;
};
struct ScanArguments {
  std::uint64_t size, flags, start, end, walk_end, runs, run_count, max_pages;
  std::uint64_t inverted, wanted_all, wanted_any, returned;
};
constexpr auto kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t kScanFile = 1 << 2;
constexpr std::uint64_t kScanPresent = 1 << 3;
constexpr std::uint64_t kScanSwapped = 1 << 4;
constexpr std::uint64_t kScanZeroPage = 1 << 5;

// False: the kernel does not know it.
Result<bool> scan_private(std::span<const std::byte> range,
                          const std::function<void(std::size_t, std::size_t)>& found) {
  const base::UniqueFd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const auto first = reinterpret_cast<std::uintptr_t>(range.data());
  std::array<ScannedRun, 512> runs;
  ScanArguments scan{};
  scan.size = sizeof(scan);
  scan.end = first + range.size();
  scan.runs = reinterpret_cast<std::uintptr_t>(runs.data());
  scan.run_count = runs.size();
  scan.inverted = kScanFile | kScanZeroPage;
  scan.wanted_all = kScanFile | kScanZeroPage;
  scan.wanted_any = scan.returned = kScanPresent | kScanSwapped;
  for (scan.walk_end = first; scan.walk_end < scan.end;) {
    scan.start = scan.walk_end;
    const int count = ::ioctl(map.get(), kPagemapScan, &scan);
    if (count < 0 && errno == ENOTTY) {
      return false;
    }
    if (count < 0) {
      return fail(Error::from_errno(errno, "scanning /proc/self/pagemap"));
    }
    for (const ScannedRun& run : std::span(runs).first(static_cast<std::size_t>(count))) {
      found(run.start - first, run.end - run.start);
    }
  }
  return true;
}

}  // namespace

Result<void> for_each_present_run(std::span<const std::byte> range,
                                  const std::function<void(std::size_t, std::size_t)>& found) {
  return for_each_run(range, is_present, found);
}

Result<void> for_each_private_run(std::span<const std::byte> range,
                                  const std::function<void(std::size_t, std::size_t)>& found) {
  SPORE_ASSIGN(const bool scanned, scan_private(range, found));
  return scanned ? Result<void>() : for_each_run(range, is_private, found);
}

}  // namespace spore::memory
