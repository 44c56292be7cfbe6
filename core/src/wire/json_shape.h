// What is asked of JSON and CBOR before a value is built from it. The library's reader recurses
// once per level, as do its copies, comparisons and destructors, and it trusts the lengths it
// reads: so the bytes are walked first, down to a limit. Nothing of ours holds a float or raw
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace spore::wire {

inline constexpr std::size_t kMaxJsonDepth = 16;

// For nlohmann::json::sax_parse().
class JsonShape {
 public:
  bool null() { return true; }
  bool boolean(bool /*value*/) { return true; }
  bool number_integer(std::int64_t /*value*/) { return true; }
  bool number_unsigned(std::uint64_t /*value*/) { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) { return false; }
  bool string(const std::string& /*value*/) { return true; }
  bool binary(const nlohmann::json::binary_t& /*value*/) { return false; }
  bool start_object(std::size_t /*size*/) { return ++depth_ <= kMaxJsonDepth; }
  bool key(const std::string& /*value*/) { return true; }
  bool end_object() { return --depth_, true; }
  bool start_array(std::size_t /*size*/) { return ++depth_ <= kMaxJsonDepth; }
  bool end_array() { return --depth_, true; }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) {
    error_at_ = position;
    return false;
  }
  // The byte that could not be read; 0: what was refused could.
  [[nodiscard]] std::size_t error_at() const noexcept { return error_at_; }

 private:
  std::size_t depth_ = 0;
  std::size_t error_at_ = 0;
};

}  // namespace spore::wire
