#include "snapshot/working_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "base/files.h"
#include "snapshot/document.h"

namespace spore::snapshot {
namespace {

constexpr std::size_t kMaxWorkingSetBytes = 64 * 1024 * 1024;

}  // namespace

Result<memory::WorkingSet> read_working_set(const std::string& path, std::uint64_t memory_bytes) {
  SPORE_ASSIGN(const std::string bytes, base::read_file(path, kMaxWorkingSetBytes));
  SPORE_ASSIGN(auto set, from_document<memory::WorkingSet>(bytes, path));
  const std::uint64_t pages = memory_bytes / memory::kPageSize;
  for (const std::vector<std::uint32_t>* list : {&set.read, &set.written}) {
    if (!std::is_sorted(list->begin(), list->end(), std::less_equal<>()) ||
        (!list->empty() && list->back() >= pages)) {
      return fail(not_such_a_document(
          path,
          fmt::format("its pages are not in order, or not of RAM of {} bytes", memory_bytes)));
    }
  }
  return set;
}

}  // namespace spore::snapshot
