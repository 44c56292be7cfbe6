// Checks of a device's State: it survives JSON and CBOR, and has the form that is kept in
// tests/golden/.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

namespace spore::testing {

template <typename State>
State through_json(const State& state) {
  return nlohmann::json::parse(nlohmann::json(state).dump()).get<State>();
}

template <typename State>
State through_cbor(const State& state) {
  return nlohmann::json::from_cbor(nlohmann::json::to_cbor(nlohmann::json(state))).get<State>();
}

// `state` must be written as the golden file says, and the golden file must be read as `state`.
template <typename State>
void expect_golden(const State& state, const std::string& name) {
  std::ifstream file(std::string(SPORE_GOLDEN_DIR) + "/" + name);
  ASSERT_TRUE(file) << "no golden state " << name << "; it would be:\n"
                    << nlohmann::json(state).dump(2);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(nlohmann::json(state).dump(2) + "\n", text) << "the form of " << name << " changed";
  EXPECT_TRUE(nlohmann::json::parse(text).get<State>() == state);
}

}  // namespace spore::testing
