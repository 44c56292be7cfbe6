#include "snapshot/document.h"

#include <fmt/format.h>

#include "base/hex.h"
#include "wire/json_shape.h"

namespace spore::snapshot {

Error not_such_a_document(std::string_view what, std::string_view why) {
  return Error(ErrorCode::kCorrupt, fmt::format("reading {}: {}", what, why));
}

Result<nlohmann::json> parse_document(std::string_view bytes, std::string_view what) {
  try {
    wire::JsonShape shape;
    if (!nlohmann::json::sax_parse(bytes, &shape)) {
      return fail(not_such_a_document(
          what, fmt::format("it is no JSON of ours (at byte {})", shape.error_at())));
    }
    nlohmann::json parsed = nlohmann::json::parse(bytes);
    if (parsed.dump() != bytes) {
      return fail(not_such_a_document(what, "it is not canonical JSON: it was changed"));
    }
    return parsed;
  } catch (const std::exception& error) {
    return fail(not_such_a_document(what, error.what()));
  }
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && base::is_hex(text);
}

}  // namespace spore::snapshot
