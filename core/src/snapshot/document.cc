#include "snapshot/document.h"

#include <fmt/format.h>

#include "base/hex.h"

namespace spore::snapshot {
namespace {

// Walks a document without building it: the library's value recurses once per level when it is
// copied, compared and destroyed.
class Shape {
 public:
  bool null() { return true; }
  bool boolean(bool /*value*/) { return true; }
  bool number_integer(std::int64_t /*value*/) { return true; }
  bool number_unsigned(std::uint64_t /*value*/) { return true; }
  bool number_float(double /*value*/, const std::string& /*text*/) { return false; }
  bool string(const std::string& /*value*/) { return true; }
  bool binary(const nlohmann::json::binary_t& /*value*/) { return false; }
  bool start_object(std::size_t /*size*/) { return ++depth_ <= kMaxDocumentDepth; }
  bool key(const std::string& /*value*/) { return true; }
  bool end_object() { return --depth_, true; }
  bool start_array(std::size_t /*size*/) { return ++depth_ <= kMaxDocumentDepth; }
  bool end_array() { return --depth_, true; }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) {
    position_ = position;
    return false;
  }
  [[nodiscard]] std::size_t position() const noexcept { return position_; }

 private:
  std::size_t depth_ = 0;
  std::size_t position_ = 0;
};

}  // namespace

Error not_such_a_document(std::string_view what, std::string_view why) {
  return Error(ErrorCode::kCorrupt, fmt::format("reading {}: {}", what, why));
}

Result<nlohmann::json> parse_document(std::string_view bytes, std::string_view what) {
  try {
    Shape shape;
    if (!nlohmann::json::sax_parse(bytes, &shape)) {
      return fail(not_such_a_document(
          what, fmt::format("it is no JSON of ours (at byte {})", shape.position())));
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
