// Bundles of strangers into unpack_bundle(): noise, a bundle.json of their own in a good archive,
// or a good bundle with changes. Nothing may be left of one that is refused; one that is taken has
// to be the good one.
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "unit/snapshot/bundle_sample.h"

namespace {

using namespace spore;                  // NOLINT
using namespace spore::snapshot::test;  // NOLINT

const std::string& good_bundle() {
  static const std::string bytes = [] {
    const TemporaryFolder folder;
    const std::string base = write_sample(folder.path("a"), {.pages = {{1, 1}}});
    return pack({write_sample(folder.path("b"), {.pages = {{1, 2}, {600, 3}}, .parent = base})});
  }();
  return bytes;
}

// Three bytes for each change: a place in the bundle, and what is there from then on.
std::string changed_bundle(std::string_view changes) {
  std::string bytes = good_bundle();
  for (; changes.size() >= 3; changes.remove_prefix(3)) {
    const auto at = static_cast<std::size_t>(static_cast<unsigned char>(changes[0]) |
                                             static_cast<unsigned char>(changes[1]) << 8);
    bytes[at % bytes.size()] = changes[2];
  }
  return bytes;
}

// The good bundle's document with a part of it replaced.
std::string changed_document(std::string_view text) {
  auto entries = entries_of(good_bundle());
  std::string document = entries.front().content;
  const std::size_t at = text.empty() ? 0 : static_cast<unsigned char>(text.front()) * 8U;
  document.replace(std::min(at, document.size()), text.size(), text);
  entries.front() = entry(snapshot::kBundleFile, document);
  return bundle_of(entries);
}

std::string bundle_from(std::string_view input) {
  if (input.empty()) {
    return {};
  }
  const auto kind = static_cast<unsigned char>(input.front()) % 4;
  input.remove_prefix(1);
  switch (kind) {
    case 0:
      return std::string(input);
    case 1:
      return bundle_of({entry(snapshot::kBundleFile, std::string(input))});
    case 2:
      return changed_document(input);
    default:
      return changed_bundle(input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryFolder folder;
  const std::string bytes = bundle_from({reinterpret_cast<const char*>(data), size});
  const auto bundle = unpack_bundle(source_of(bytes), folder.path("out"));
  if (bundle) {
    SPORE_CHECK(bytes == good_bundle());
    SPORE_CHECK(remove_spore(folder.path("out")).has_value());
  }
  SPORE_CHECK(names_in(folder.path()).empty());
  return 0;
}
