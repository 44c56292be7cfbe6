#include "cli/root_images.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/command.h"
#include "cli/run_arguments.h"
#include "spore/image.h"

namespace spore::cli {

namespace fs = std::filesystem;

Result<void> add_root_images(const std::vector<std::string>& roots,
                             const std::vector<std::string>& mounts,
                             std::vector<std::string>& images) {
  for (const std::string& root : roots) {
    std::error_code error;
    const fs::path path = fs::absolute(root).lexically_normal();
    if (!fs::exists(path, error)) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("reading --root {}: there is no such directory or image", root));
    }
    if (!fs::is_directory(path, error)) {
      images.push_back(path.string());
      continue;
    }
    SPORE_ASSIGN(Image image, build_image({.mounts = {{path.string(), "/"}}}, show_progress));
    images.push_back(std::move(image.path));
  }
  if (!mounts.empty()) {
    ImageSpec spec;
    for (const std::string& word : mounts) {
      SPORE_ASSIGN(spec.mounts.emplace_back(), parse_mount(word));
    }
    SPORE_ASSIGN(Image image, build_image(spec, show_progress));
    images.push_back(std::move(image.path));
  }
  return {};
}

}  // namespace spore::cli
