// What is said about a machine: as JSON, and in words.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/machines/registry.h"

namespace spore::cli::machines {

// The same object in every verb's --json.
nlohmann::json to_json(const Entry& entry);

// "12s", "3m", "5h", "2d"
std::string age_text(std::int64_t seconds);

}  // namespace spore::cli::machines
