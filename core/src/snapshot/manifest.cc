#include "snapshot/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "snapshot/document.h"
#include "wire/machine_json.h"

namespace spore::snapshot {
namespace {

constexpr std::string_view kFormat = "spore";
constexpr std::size_t kMaxShownVersion = 40;
constexpr std::size_t kMaxImages = 16;
constexpr std::size_t kMaxAnnotations = 1024;
// Of the frequency of a guest's clock: what Linux's time keeping evens out, and what KVM takes for
// the same frequency.
constexpr std::uint64_t kTscTolerancePerMillion = 250;

bool is_near(std::uint32_t wanted, std::uint32_t offered) {
  const std::uint64_t apart = wanted > offered ? wanted - offered : offered - wanted;
  return apart * 1'000'000 <= std::uint64_t{wanted} * kTscTolerancePerMillion;
}

Result<void> check_digest(std::string_view digest, std::string_view what, std::string_view of) {
  if (is_digest(digest)) {
    return {};
  }
  return fail(not_such_a_document(what, fmt::format("{} is named by no SHA-256", of)));
}

}  // namespace

std::vector<std::string> differences(const Platform& wanted, const Platform& offered,
                                     bool can_scale) {
  std::vector<std::string> found;
  const auto compare = [&](std::string_view name, const auto& ours, const auto& theirs) {
    if (ours != theirs) {
      found.push_back(fmt::format("{} {} (here: {})", name, ours, theirs));
    }
  };
  compare("architecture", wanted.architecture, offered.architecture);
  compare("board version", wanted.board, offered.board);
  compare("backend", wanted.backend, offered.backend);
  compare("CPU vendor", wanted.cpu_vendor, offered.cpu_vendor);
  compare("clock", wanted.clock, offered.clock);
  for (const std::string& feature : wanted.cpu_features) {
    if (!std::binary_search(offered.cpu_features.begin(), offered.cpu_features.end(), feature)) {
      found.push_back(fmt::format("CPU feature {} (not here)", feature));
    }
  }
  if (!can_scale && !is_near(wanted.tsc_khz, offered.tsc_khz)) {
    compare("TSC frequency in kHz", wanted.tsc_khz, offered.tsc_khz);
  }
  if (!offered.kernel_sha256.empty()) {
    compare("kernel", wanted.kernel_sha256, offered.kernel_sha256);
  }
  return found;
}

void stamp(Manifest& manifest) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  manifest.created =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count());
  manifest.created_by = "spore " SPORE_VERSION;
}

void to_json(nlohmann::json& json, const Manifest& manifest) {
  json = {{"format", kFormat},
          {"version", kFormatVersion},
          {"created", manifest.created},
          {"created_by", manifest.created_by},
          {"parent", manifest.parent},
          {"fork", manifest.fork},
          {"generation", manifest.generation},
          {"platform", manifest.platform},
          {"images", manifest.images},
          {"sections", manifest.sections},
          {"annotations", manifest.annotations}};
}

void from_json(const nlohmann::json& json, Manifest& manifest) {
  json.at("created").get_to(manifest.created);
  json.at("created_by").get_to(manifest.created_by);
  json.at("parent").get_to(manifest.parent);
  json.at("fork").get_to(manifest.fork);
  json.at("generation").get_to(manifest.generation);
  json.at("platform").get_to(manifest.platform);
  json.at("images").get_to(manifest.images);
  json.at("sections").get_to(manifest.sections);
  json.at("annotations").get_to(manifest.annotations);
}

Result<Manifest> parse_manifest(std::string_view bytes, std::string_view what) {
  SPORE_ASSIGN(const auto json, parse_document(bytes, what));
  // Before anything else: another version may have other keys.
  if (!json.is_object() || json.value("format", nlohmann::json()) != kFormat) {
    return fail(not_such_a_document(what, "it is no spore's manifest"));
  }
  if (const auto version = json.value("version", nlohmann::json()); version != kFormatVersion) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("reading {}: it is of format version {}, this program reads {}: use "
                            "the program that wrote it, or capture again",
                            what, version.dump().substr(0, kMaxShownVersion), kFormatVersion));
  }
  SPORE_ASSIGN(Manifest manifest, from_document<Manifest>(bytes, what));
  if (!manifest.parent.empty()) {
    SPORE_TRY(check_digest(manifest.parent, what, "the parent"));
  }
  SPORE_TRY(check_digest(manifest.platform.kernel_sha256, what, "the kernel"));
  if (manifest.images.size() > kMaxImages || manifest.annotations.size() > kMaxAnnotations) {
    return fail(not_such_a_document(what, "it has more images or annotations than can be"));
  }
  for (const ImageRef& image : manifest.images) {
    SPORE_TRY(check_digest(image.sha256, what, "an image"));
  }
  for (const auto name : {kVmSection, kAgentSection, kRamSection}) {
    if (!manifest.sections.contains(std::string(name))) {
      return fail(not_such_a_document(what, fmt::format("it has no section {}", name)));
    }
  }
  for (const auto& [name, section] : manifest.sections) {
    SPORE_TRY(check_digest(section.sha256, what, "section " + name));
    if (section.bytes > kMaxSectionBytes) {
      return fail(
          not_such_a_document(what, fmt::format("section {} has {} bytes, at most {} can be", name,
                                                section.bytes, kMaxSectionBytes)));
    }
  }
  if (!std::is_sorted(manifest.platform.cpu_features.begin(),
                      manifest.platform.cpu_features.end())) {
    return fail(not_such_a_document(what, "its CPU features are not in order"));
  }
  return manifest;
}

}  // namespace spore::snapshot
