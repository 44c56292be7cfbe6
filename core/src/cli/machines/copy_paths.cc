#include "cli/machines/copy_paths.h"

#include <fmt/format.h>

#include <filesystem>

#include "cli/machines/registry.h"

namespace spore::cli::machines {
namespace {

namespace fs = std::filesystem;

bool means_a_directory(std::string_view path) {
  return path.ends_with('/') || path.ends_with("/.") || path == "." || path.ends_with("/..") ||
         path == "..";
}

// "DIR/.": what is in it, not the directory itself.
bool means_the_content(std::string_view path) {
  return path.ends_with("/.") || path == ".";
}

}  // namespace

Result<CopyEnd> parse_copy_end(std::string_view word) {
  const auto colon = word.find(':');
  const bool of_host = word.starts_with('/') || word.starts_with('.') || colon == word.npos;
  CopyEnd end;
  if (of_host) {
    end.path = word;
  } else {
    end.machine = word.substr(0, colon);
    end.path = word.substr(colon + 1);
    if (const auto valid = check_name(end.machine); !valid) {
      return fail(valid.error().with_context(
          fmt::format("reading {} (a host path with a colon begins with / or ./)", word)));
    }
  }
  if (end.path.empty() || end.path.find('\0') != std::string::npos) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("reading \"{}\": say a path, or NAME:PATH", word));
  }
  return end;
}

std::string clean_path(std::string_view path, std::string_view base) {
  fs::path whole = fs::path(path).is_absolute() ? fs::path(path) : fs::path(base) / path;
  whole = whole.lexically_normal();
  if (!whole.has_filename() && whole.has_relative_path()) {
    whole = whole.parent_path();  // "a/" is "a"
  }
  return whole.string();
}

Result<CopyPlan> plan_copy(const CopySource& source, const CopyTarget& target) {
  const std::string from = clean_path(source.path, source.base);
  const std::string to = clean_path(target.path, target.base);
  const std::string name = fs::path(from).filename().string();
  const std::string attempted = fmt::format("copying {} to {}", source.path, target.path);
  if (!source.is_directory && means_a_directory(source.path)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: {} is not a directory", attempted, source.path));
  }
  if (target.kind == PathKind::kDirectory) {
    const bool content = means_the_content(source.path) || name.empty();
    return CopyPlan{to, content ? "" : name};
  }
  if (target.kind == PathKind::kFile && source.is_directory) {
    return fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: a directory cannot become {}, which is a file {}; name a directory",
                    attempted, target.path, target.where));
  }
  if (means_a_directory(target.path) && (target.kind == PathKind::kFile || !source.is_directory)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: there is no directory {} {}; make it first, or leave the / out",
                            attempted, target.path, target.where));
  }
  const fs::path path(to);
  if (target.parent != PathKind::kDirectory || !path.has_filename()) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: there is no directory {} {}; make it first", attempted,
                            path.parent_path().string(), target.where));
  }
  return CopyPlan{path.parent_path().string(), path.filename().string()};
}

}  // namespace spore::cli::machines
