// Messages as CBOR. Every byte read is hostile: nesting, sizes and types are checked before a value
// is built, and no byte sequence throws or exhausts the stack.
#pragma once

#include <exception>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "spore/result.h"
#include "wire/json_shape.h"

namespace spore::wire {

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
    JsonShape shape;
    if (!nlohmann::json::sax_parse(bytes, &shape, nlohmann::json::input_format_t::cbor)) {
      return fail(ErrorCode::kCorrupt, "reading a message: not the CBOR of a message");
    }
    return nlohmann::json::from_cbor(bytes).get<Message>();
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, std::string("reading a message: ") + error.what());
  }
}

}  // namespace spore::wire
