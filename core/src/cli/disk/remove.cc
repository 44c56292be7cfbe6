#include "cli/disk/remove.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/disk/text.h"
#include "spore/disk.h"

namespace spore::cli {

int remove_spores(const std::vector<std::string>& paths, bool force, bool json) {
  int status = 0;
  std::vector<std::string> documents;
  for (const std::string& path : paths) {
    const auto removed = remove_spore(path, {force});
    if (!removed) {
      status = report(removed.error());
    } else if (json) {
      documents.push_back(json_text(*removed));
    } else {
      fmt::print("removed {}, {}\n", removed->path, size_text(removed->bytes));
    }
  }
  if (json) {
    fmt::print("[{}]\n", fmt::join(documents, ",\n"));
  }
  return status;
}

}  // namespace spore::cli
