#include "image/closure.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "image/files.h"

namespace spore::image {
namespace {

constexpr int kMaxScriptDepth = 4;  // as in the kernel: a script's interpreter may be a script
constexpr std::size_t kMaxScriptLine = 4096;
constexpr int kMaxConfigurationDepth = 8;
constexpr std::uint64_t kMaxConfigurationBytes = 1024 * 1024;

std::string canonical(const std::string& path) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(path, error);
  return error ? path : resolved.string();
}

std::string parent_of(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

bool is_program(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

// $ORIGIN and $LIB as ld.so(8) replaces them. $PLATFORM is not supported: nothing real uses it.
std::string expand(std::string directory, const std::string& origin) {
  for (const auto& [variable, value] :
       {std::pair<std::string_view, std::string_view>{"$ORIGIN", origin},
        {"${ORIGIN}", origin},
        {"$LIB", "lib"},
        {"${LIB}", "lib"}}) {
    for (auto at = directory.find(variable); at != std::string::npos;
         at = directory.find(variable, at + value.size())) {
      directory.replace(at, variable.size(), value);
    }
  }
  return directory;
}

// The lines of ld.so.conf(5), and of what it includes.
void read_configuration(const std::string& path, int depth, std::vector<std::string>& directories) {
  const auto text = read_file(path, kMaxConfigurationBytes);
  if (!text || depth > kMaxConfigurationDepth) {
    return;
  }
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    std::string line = text->substr(at, end - at);
    at = end + 1;
    line.erase(std::min(line.find('#'), line.size()));
    const auto first = line.find_first_not_of(" \t");
    if (first == std::string::npos) {
      continue;
    }
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    constexpr std::string_view kInclude = "include ";
    if (!line.starts_with(kInclude)) {
      directories.push_back(line);
      continue;
    }
    std::string pattern = line.substr(kInclude.size());
    if (!pattern.starts_with('/')) {
      pattern = fmt::format("{}/{}", parent_of(path), pattern);
    }
    glob_t found{};
    if (::glob(pattern.c_str(), 0, nullptr, &found) == 0) {
      for (std::size_t i = 0; i < found.gl_pathc; ++i) {
        read_configuration(found.gl_pathv[i], depth + 1, directories);
      }
    }
    ::globfree(&found);
  }
}

std::optional<ElfInfo> elf_of_this_host(const std::string& path) {
  const auto fd = open_to_read(path);
  if (!fd) {
    return std::nullopt;
  }
  auto info = parse_elf(file_reader(fd->get()));
  if (!info || info->machine != host_machine()) {
    return std::nullopt;
  }
  return std::move(*info);
}

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const auto start = line.find_first_not_of(" \t\r", at);
    if (start == std::string_view::npos) {
      break;
    }
    const auto end = std::min(line.find_first_of(" \t\r", start), line.size());
    words.emplace_back(line.substr(start, end - start));
    at = end;
  }
  return words;
}

// The program that `env [-S] [NAME=VALUE] PROGRAM` runs.
std::optional<std::string> program_of_env(const std::vector<std::string>& words) {
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string word = words[i];
    if (word.starts_with("-S") && word.size() > 2) {
      word = word.substr(2);
    }
    if (!word.starts_with('-') && word.find('=') == std::string::npos) {
      return word;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    struct stat status {};
    const std::string path = std::filesystem::absolute(name).lexically_normal().string();
    if (::stat(path.c_str(), &status) != 0) {
      return fail(Error::from_errno(errno, fmt::format("find program {}", path)));
    }
    if (!is_program(path)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("use {} as a program: it is not an executable file", path));
    }
    return path;
  }
  const char* variable = std::getenv("PATH");
  const std::string path = variable == nullptr ? "/usr/bin:/bin" : variable;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find(':', at), path.size());
    const std::string candidate = fmt::format("{}/{}", path.substr(at, end - at), name);
    if (candidate.starts_with('/') && end > at && is_program(candidate)) {
      return std::filesystem::path(candidate).lexically_normal().string();
    }
    at = end + 1;
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("find program {}: it is in no directory of PATH; install it or give its "
                          "path",
                          name));
}

const std::vector<std::string>& Closure::system_directories() {
  if (system_directories_.empty()) {
    read_configuration("/etc/ld.so.conf", 0, system_directories_);
    for (const char* directory :
         {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu",
          "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}) {
      system_directories_.emplace_back(directory);
    }
  }
  return system_directories_;
}

const std::optional<ElfInfo>& Closure::elf_at(const std::string& path) {
  const auto known = elf_files_.find(path);
  return known != elf_files_.end() ? known->second
                                   : elf_files_.emplace(path, elf_of_this_host(path)).first->second;
}

const std::string& Closure::resolve(const std::string& path) {
  const auto known = resolved_.find(path);
  return known != resolved_.end() ? known->second
                                  : resolved_.emplace(path, canonical(path)).first->second;
}

std::string Closure::find_library(const std::string& name, const SearchPath& search) {
  const auto usable = [this](const std::string& path) { return elf_at(path).has_value(); };
  if (name.find('/') != std::string::npos) {
    return usable(name) ? name : "";
  }
  for (const std::string& directory : search) {
    const std::string path = fmt::format("{}/{}", directory, name);
    if (path.starts_with('/') && usable(path)) {
      return path;
    }
  }
  if (const auto known = system_libraries_.find(name); known != system_libraries_.end()) {
    return known->second;
  }
  std::string found;
  for (const std::string& directory : system_directories()) {
    const std::string path = fmt::format("{}/{}", directory, name);
    if (usable(path)) {
      found = path;
      break;
    }
  }
  system_libraries_.emplace(name, found);
  return found;
}

Result<void> Closure::add_needed(const std::string& path, const ElfInfo& info,
                                 const SearchPath& inherited, bool strict) {
  const std::string& resolved = resolve(path);
  if (!visited_.insert(resolved).second) {
    return {};
  }
  // The linker takes the directory by which the file was named; programs that are started through a
  // link find their libraries beside the link's target, so both are tried.
  SearchPath own_rpath;
  SearchPath search;
  for (const std::string& origin : {parent_of(path), parent_of(resolved)}) {
    for (const std::string& directory : info.runpath.empty() ? info.rpath : info.runpath) {
      (info.runpath.empty() ? own_rpath : search).push_back(expand(directory, origin));
    }
  }
  own_rpath.insert(own_rpath.end(), inherited.begin(), inherited.end());
  if (info.runpath.empty()) {  // ld.so(8): DT_RPATH counts only where there is no DT_RUNPATH
    search = own_rpath;
  }
  for (const std::string& name : info.needed) {
    const std::string library = find_library(name, search);
    if (library.empty()) {
      if (strict) {
        return fail(ErrorCode::kNotFound,
                    fmt::format("find the libraries of {}: {} is not there; install the package "
                                "that has it (ldd shows what is missing)",
                                path, name));
      }
      continue;
    }
    files_.insert(library);
    if (const auto& loaded = elf_at(library)) {
      SPORE_TRY(add_needed(library, *loaded, own_rpath, strict));
    }
  }
  return {};
}

Result<void> Closure::add_program(const std::string& path) {
  return add_program_at_depth(path, 0);
}

Result<void> Closure::add_program_at_depth(const std::string& path, int depth) {
  SPORE_ASSIGN(const base::UniqueFd fd, open_to_read(path));
  const auto start = read_start(fd.get(), kMaxScriptLine);
  if (!start) {
    return fail(start.error().with_context(path));
  }
  const std::string& head = *start;
  if (head.starts_with("#!")) {
    return add_script(path, std::string_view(head).substr(2, head.find('\n') - 2), depth);
  }
  if (!head.starts_with("\x7f"
                        "ELF")) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("use {} as a program: it is neither an ELF file nor a script that "
                            "starts with #!",
                            path));
  }
  auto info = parse_elf(file_reader(fd.get()));
  if (!info) {
    return fail(info.error().with_context(fmt::format("use {} as a program", path)));
  }
  if (info->machine != host_machine()) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("use {} as a program: it is for {}; this machine runs {}", path,
                            elf_machine_name(info->machine), elf_machine_name(host_machine())));
  }
  files_.insert(path);
  if (!info->interpreter.empty()) {
    if (::access(info->interpreter.c_str(), F_OK) != 0) {
      return fail(ErrorCode::kNotFound, fmt::format("use {} as a program: its interpreter {} is "
                                                    "not there",
                                                    path, info->interpreter));
    }
    files_.insert(info->interpreter);
  }
  return add_needed(path, *info, {}, true);
}

Result<void> Closure::add_script(const std::string& path, std::string_view line, int depth) {
  const std::vector<std::string> words = words_of(line);
  if (words.empty() || !words[0].starts_with('/') || depth >= kMaxScriptDepth) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("use {} as a program: its #! line names no usable interpreter", path));
  }
  files_.insert(path);
  const auto add = [&](const std::string& name) -> Result<void> {
    auto program = find_program(name);
    if (!program) {
      return fail(program.error().with_context(fmt::format("find the interpreter of {}", path)));
    }
    return add_program_at_depth(*program, depth + 1);
  };
  SPORE_TRY(add(words[0]));
  if (words[0].ends_with("/env")) {
    if (const auto program = program_of_env(words)) {
      return add(*program);
    }
  }
  return {};
}

void Closure::add_library(const std::string& path) {
  if (const auto& info = elf_at(path)) {
    // Not strict: never an Error.
    static_cast<void>(add_needed(path, *info, {}, false));
  }
}

}  // namespace spore::image
