#include "output_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

namespace spore::gtest_runner {

std::optional<OutputFile> resolve_output(const std::string& flag, const std::string& binary) {
  const auto colon = flag.find(':');
  OutputFile file{.format = flag.substr(0, colon), .path = ""};
  if (file.format != "xml" && file.format != "json") {
    return std::nullopt;
  }
  std::error_code error;
  const auto here = std::filesystem::current_path(error);
  if (colon == std::string::npos) {
    file.path = here / ("test_detail." + file.format);
    return file;
  }
  const std::string given = flag.substr(colon + 1);
  file.path = here / given;
  if (given.empty() || !given.ends_with('/')) {
    return file;
  }
  const std::string base = file.path + std::filesystem::path(binary).filename().string();
  file.path = fmt::format("{}.{}", base, file.format);
  for (int number = 1; std::filesystem::exists(file.path, error); ++number) {
    file.path = fmt::format("{}_{}.{}", base, number, file.format);
  }
  return file;
}

Result<void> write_output(const OutputFile& file, const std::string& text) {
  const std::string attempted = fmt::format("writing the report {} (--gtest_output)", file.path);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file.path).parent_path(), error);
  if (error) {
    return fail(Error::from_errno(error.value(), attempted));
  }
  std::ofstream stream(file.path, std::ios::binary | std::ios::trunc);
  stream << text;
  stream.close();
  if (!stream) {
    return fail(Error::from_errno(errno, attempted));
  }
  return {};
}

}  // namespace spore::gtest_runner
