// Mapping: sole owner of one mmap()ed range.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string_view>

#include "spore/result.h"

namespace spore::base {

class Mapping {
 public:
  // Maps `size` bytes (protection and flags as for mmap(2)). `attempted` begins the Error's text.
  static Result<Mapping> create(std::size_t size, int protection, int flags, int fd, off_t offset,
                                std::string_view attempted);

  // The same from offset 0, at a multiple of `alignment` (itself a multiple of the page size);
  // `size` must be whole pages.
  static Result<Mapping> create_aligned(std::size_t size, std::size_t alignment, int protection,
                                        int flags, int fd, std::string_view attempted);

  Mapping() noexcept = default;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  Mapping(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  void unmap() noexcept;

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace spore::base
