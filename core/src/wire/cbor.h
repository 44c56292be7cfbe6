// Messages as CBOR. Every byte read is hostile: nesting, sizes and types are checked before a value
// is built, and no byte sequence throws or exhausts the stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::wire {

inline constexpr std::size_t kMaxMessageDepth = 16;

// Walks a message without building it. The library's reader recurses once per level and trusts
// the lengths it reads, so this stops it at the depth limit; no message holds a float or raw bytes.
class MessageShape {
 public:
  bool null() { return true; }
  bool boolean(bool /*value*/) { return true; }
  bool number_integer(std::int64_t /*value*/) { return true; }
  bool number_unsigned(std::uint64_t /*value*/) { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) { return false; }
  bool string(const std::string& /*value*/) { return true; }
  bool binary(const nlohmann::json::binary_t& /*value*/) { return false; }
  bool start_object(std::size_t /*size*/) { return ++depth_ <= kMaxMessageDepth; }
  bool key(const std::string& /*value*/) { return true; }
  bool end_object() { return --depth_, true; }
  bool start_array(std::size_t /*size*/) { return ++depth_ <= kMaxMessageDepth; }
  bool end_array() { return --depth_, true; }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) {
    return false;
  }

 private:
  std::size_t depth_ = 0;
};

template <typename Message>
std::string to_cbor(const Message& message) {
  std::string bytes;
  nlohmann::json::to_cbor(nlohmann::json(message), bytes);
  return bytes;
}

// Answers kCorrupt for bytes that are not such a message.
template <typename Message>
Result<Message> from_cbor(std::string_view bytes) {
  try {
    MessageShape shape;
    if (!nlohmann::json::sax_parse(bytes, &shape, nlohmann::json::input_format_t::cbor)) {
      return fail(ErrorCode::kCorrupt, "reading a message: not the CBOR of a message");
    }
    return nlohmann::json::from_cbor(bytes).get<Message>();
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, std::string("reading a message: ") + error.what());
  }
}

}  // namespace spore::wire
