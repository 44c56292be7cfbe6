#include <nlohmann/json.hpp>
#include <string>

#include "spore/kept.h"

namespace spore {

std::string json_text(const KeptInfo& kept) {
  const nlohmann::json json = {
      {"digest", kept.digest}, {"label", kept.label}, {"parts", kept.parts}, {"path", kept.path},
      {"bytes", kept.bytes},   {"kept", kept.kept},   {"used", kept.used}};
  // Paths need not be UTF-8.
  return json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

}  // namespace spore
