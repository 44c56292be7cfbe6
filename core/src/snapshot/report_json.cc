// The JSON of what is said about spores on disk.
#include <nlohmann/json.hpp>

#include "snapshot/bundle.h"
#include "snapshot/manifest.h"
#include "spore/disk.h"
#include "wire/machine_json.h"

namespace spore {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SporeAncestor, id, path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SporeImage, sha256, bytes, name, found)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RamLayer, sha256, path, pages, chunks, file_bytes, flat_bytes,
                                   flat_proof)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BadFile, path, why)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ForkedSpore, id, path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DiskForks, parent, path, children, fork_us)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RamRange, offset, bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FieldDifference, part, path, left, right)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Garbage, kind, path, bytes, why)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GarbageReport, items, bytes, removed, notes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RemovedSpore, id, path, bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Bundle, digest, path, spores, files, bytes, image_bytes)

namespace {

// Paths need not be UTF-8.
std::string text_of(const nlohmann::json& json) {
  return json.dump(2, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string json_text(const SporeReport& report) {
  return text_of({{"id", report.id},
                  {"path", report.path},
                  {"created", report.created},
                  {"created_by", report.created_by},
                  {"parents", report.parents},
                  {"generation", report.generation},
                  {"fork", report.fork},
                  {"platform", report.platform},
                  {"images", report.images},
                  {"ram", report.ram},
                  {"annotations", report.annotations},
                  {"verified", report.verified},
                  {"bad", report.bad}});
}

std::string json_text(const DiskForks& forks) {
  return text_of(forks);
}

std::string json_text(const SporeDifference& difference) {
  return text_of({{"left", difference.left},
                  {"right", difference.right},
                  {"same", difference.same()},
                  {"pages", difference.pages},
                  {"ranges", difference.ranges},
                  {"chunks_read", difference.chunks_read},
                  {"fields", difference.fields}});
}

std::string json_text(const GarbageReport& report) {
  return text_of(report);
}

std::string json_text(const RemovedSpore& removed) {
  return text_of(removed);
}

std::string json_text(const Bundle& bundle) {
  return text_of(bundle);
}

}  // namespace spore
