// JSON of values that may not be there: null then.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

template <typename T>
struct nlohmann::adl_serializer<std::optional<T>> {
  static void to_json(json& value, const std::optional<T>& maybe) {
    value = maybe ? json(*maybe) : json();
  }
  static void from_json(const json& value, std::optional<T>& maybe) {
    if (value.is_null()) {
      maybe.reset();
    } else {
      maybe = value.get<T>();
    }
  }
};
