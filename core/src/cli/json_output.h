// What verbs with --json print: one document on standard output, an Error as
// {"error": {"code": ..., "message": ...}} besides its line on standard error.
#pragma once

#include <nlohmann/json.hpp>

#include "spore/result.h"

namespace spore::cli {

// Bytes that are no text are replaced.
void print_json(const nlohmann::json& document);

// {"code": "not_found", "message": "..."}
nlohmann::json error_to_json(const Error& error);

// As report() of command.h, and the document if `as_json`.
int report(const Error& error, bool as_json);

}  // namespace spore::cli
