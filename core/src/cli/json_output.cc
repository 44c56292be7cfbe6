#include "cli/json_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cli/command.h"

namespace spore::cli {

void print_json(const nlohmann::json& document) {
  fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

nlohmann::json error_to_json(const Error& error) {
  std::string code(to_string(error.code()));
  std::replace(code.begin(), code.end(), ' ', '_');
  return {{"code", code}, {"message", error.message()}};
}

int report(const Error& error, bool as_json) {
  if (as_json) {
    print_json({{"error", error_to_json(error)}});
  }
  return report(error);
}

}  // namespace spore::cli
