// Canonical JSON: the documents that a spore is made of. One value has one spelling, so that a
// document can be named by its digest. Hostile bytes: all of them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::snapshot {

// kCorrupt names `what` and the reason: no JSON, too deep, not canonical.
Result<nlohmann::json> parse_document(std::string_view bytes, std::string_view what);

Error not_such_a_document(std::string_view what, std::string_view why);

// The T that a document spells, and nothing besides: a document with unknown keys, or with numbers
// that T cannot hold, is kCorrupt.
template <typename T>
Result<T> from_document(std::string_view bytes, std::string_view what) {
  SPORE_ASSIGN(const nlohmann::json parsed, parse_document(bytes, what));
  try {
    T value = parsed.get<T>();
    // By its spelling: the library takes -1 and 2^64 - 1 for the same number.
    if (nlohmann::json(value).dump() != bytes) {
      return fail(
          not_such_a_document(what, "it has keys or values that this version does not know"));
    }
    return value;
  } catch (const std::exception& error) {
    return fail(not_such_a_document(what, error.what()));
  }
}

template <typename T>
std::string to_document(const T& value) {
  return nlohmann::json(value).dump();
}

// 64 lower-case hexadecimal digits?
bool is_digest(std::string_view text);

}  // namespace spore::snapshot
