#include "coverage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gtest_runner/host_command.h"
#include "profile_file.h"

namespace spore::gtest_runner {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGcovEnding = ".gcda";
constexpr std::size_t kLockedAtOnce = 256;  // files; each is open meanwhile

std::string variable(const char* name, std::string otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? std::move(otherwise) : value;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// "%4m": that many files take turns. Here it is one: "%m".
void drop_pool_size(std::string& pattern) {
  for (char digit = '1'; digit <= '9'; ++digit) {
    replace_all(pattern, fmt::format("%{}m", digit), "%m");
  }
}

// The files below `directory`, by their paths from there: GCC's, or the others.
std::vector<std::string> files_in(const std::string& directory, bool of_gcov) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string path = entry->path().string();
    if (entry->is_regular_file(error) && path.ends_with(kGcovEnding) == of_gcov) {
      names.push_back(path.substr(directory.size() + 1));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

constexpr std::uintmax_t kLargest = std::uintmax_t{256} << 20;  // bytes of a file, holes and all

// What a machine made is no way to other files of this host, and fits into memory.
void leave_plain_files(const std::string& directory) {
  std::vector<fs::path> others;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::file_type type = entry->symlink_status(error).type();
    const bool is_file = type == fs::file_type::regular && entry->file_size(error) <= kLargest;
    if (!is_file && type != fs::file_type::directory) {
      others.push_back(entry->path());
    }
  }
  for (const fs::path& path : others) {
    fs::remove(path, error);
  }
}

std::mutex g_left_mutex;
std::string g_left;  // the directory of a Coverage that is at work

Result<void> add_advice(const Result<std::string>& result, std::string_view advice) {
  if (!result) {
    return fail(result.error().code(), fmt::format("{}; {}", result.error().message(), advice));
  }
  return {};
}

}  // namespace

ProfilePlaces parse_profile_places(const Lookup& getenv) {
  ProfilePlaces places;
  places.gcov_prefix = getenv("GCOV_PREFIX").value_or("");
  const std::string strip = getenv("GCOV_PREFIX_STRIP").value_or("");
  std::from_chars(strip.data(), strip.data() + strip.size(), places.gcov_prefix_strip);
  if (const auto pattern = getenv("LLVM_PROFILE_FILE"); pattern && !pattern->empty()) {
    places.llvm_pattern = *pattern;
  }
  return places;
}

void set_profile_variables(const ProfilePlaces& places, const std::string& directory,
                           std::map<std::string, std::string>& env) {
  env["GCOV_PREFIX"] = directory;
  env["GCOV_PREFIX_STRIP"] = "0";
  std::string name = fs::path(places.llvm_pattern).filename().string();
  replace_all(name, "%c", "");  // written while it runs: the set-up's would go on in the children
  env["LLVM_PROFILE_FILE"] = fmt::format("{}/{}", directory, name);
}

ExecRequest profile_request(const std::string& directory) {
  ExecRequest request;
  request.argv = {"sh", "-c", "cd \"$0\" 2> /dev/null || exit 0; exec tar -cf - .", directory};
  return request;
}

Coverage::Coverage(ProfilePlaces places, std::string program)
    : places_(std::move(places)), program_(std::move(program)) {}

Coverage::~Coverage() {
  if (!directory_.empty() && !keeps_) {
    remove_coverage_directory();
  }
}

void remove_coverage_directory() {
  const std::lock_guard lock(g_left_mutex);
  std::error_code ignored;
  if (!g_left.empty()) {
    fs::remove_all(g_left, ignored);
  }
  g_left.clear();
}

Result<void> Coverage::take(std::string_view archive) {
  const std::lock_guard lock(mutex_);
  return unpack(archive);
}

Result<void> Coverage::take_set_up(std::string_view archive) {
  const std::lock_guard lock(mutex_);
  if (has_set_up_ || archive.empty()) {
    return {};
  }
  has_set_up_ = true;
  return unpack(archive);
}

bool Coverage::has_set_up() {
  const std::lock_guard lock(mutex_);
  return has_set_up_;
}

Result<void> Coverage::unpack(std::string_view archive) {
  if (archive.empty()) {
    return {};
  }
  if (directory_.empty()) {
    std::error_code error;
    std::string name = (fs::temp_directory_path(error) / "spore-coverage-XXXXXX").string();
    if (error || ::mkdtemp(name.data()) == nullptr) {
      return fail(Error::from_errno(errno, "making a directory for coverage"));
    }
    directory_ = name;
    const std::lock_guard lock(g_left_mutex);
    g_left = name;
  }
  const std::string place = fmt::format("{}/{}", directory_, taken_++);
  const std::string file = place + ".tar";
  std::ofstream(file, std::ios::binary) << archive;
  std::error_code error;
  fs::create_directory(place, error);
  SPORE_TRY(run_on_host({"tar", "--extract", "--file=" + file, "--directory=" + place,
                         "--no-same-owner", "--no-same-permissions"}));
  fs::remove(file, error);
  leave_plain_files(place);
  return {};
}

Result<void> Coverage::bring_home() {
  const std::lock_guard lock(mutex_);
  const auto merged = [this]() -> Result<void> {
    SPORE_TRY(merge_gcov());
    return merge_llvm();
  }();
  if (!merged) {
    keeps_ = true;
    return fail(merged.error().with_context(
        fmt::format("merging the coverage of the children (it is in {})", directory_)));
  }
  return {};
}

Result<void> Coverage::merge_gcov() {
  std::string merged;
  std::string tool;
  for (std::size_t i = 0; i < taken_; ++i) {
    const std::string next = fmt::format("{}/{}", directory_, i);
    const auto names = files_in(next, true);
    if (names.empty()) {
      continue;
    }
    if (merged.empty()) {
      tool = variable("GCOV_TOOL", gcov_tool_for(fmt::format("{}/{}", next, names[0])));
      merged = next;
      continue;
    }
    const std::string both = fmt::format("{}/gcov-{}", directory_, i);
    SPORE_TRY(add_advice(run_on_host({tool, "merge", merged, next, "-o", both}),
                         "GCOV_TOOL names the gcov-tool of your GCC"));
    std::error_code ignored;  // each has all counts, and there may be a child for each test
    fs::remove_all(merged, ignored);
    fs::remove_all(next, ignored);
    merged = both;
  }
  if (merged.empty()) {
    return {};
  }
  const auto names = files_in(merged, true);
  for (std::size_t at = 0; at < names.size(); at += kLockedAtOnce) {
    const auto begin = names.begin() + static_cast<std::ptrdiff_t>(at);
    const auto count = std::min(kLockedAtOnce, names.size() - at);
    SPORE_TRY(merge_into_place(merged, {begin, begin + static_cast<std::ptrdiff_t>(count)}, tool));
  }
  return {};
}

// Runs beside this one, with machines or without, add to the same files.
Result<void> Coverage::merge_into_place(const std::string& merged,
                                        const std::vector<std::string>& names,
                                        const std::string& tool) {
  const std::string earlier = directory_ + "/earlier";
  const std::string sum = directory_ + "/sum";
  std::error_code ignored;
  fs::remove_all(earlier, ignored);
  fs::remove_all(sum, ignored);
  std::vector<LockedFile> files;
  bool is_any = false;
  for (const std::string& name : names) {
    SPORE_ASSIGN(auto file, LockedFile::open(gcov_place(name)));
    if (same_gcov_program(file.text(), fmt::format("{}/{}", merged, name))) {
      SPORE_TRY(write_file(fmt::format("{}/{}", earlier, name), file.text()));
      is_any = true;
    }
    files.push_back(std::move(file));
  }
  if (is_any) {
    SPORE_TRY(run_on_host({tool, "merge", earlier, merged, "-o", sum}));
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string& from = is_any ? sum : merged;
    SPORE_ASSIGN(const std::string text, read_file(fmt::format("{}/{}", from, names[i])));
    SPORE_TRY(files[i].replace(text));
  }
  return {};
}

Result<void> Coverage::merge_llvm() {
  std::string inputs;
  for (std::size_t i = 0; i < taken_; ++i) {
    const std::string set = fmt::format("{}/{}", directory_, i);
    for (const std::string& name : files_in(set, false)) {
      inputs += fmt::format("{}/{}\n", set, name);
    }
  }
  if (inputs.empty()) {
    return {};
  }
  const std::string place = llvm_place();
  SPORE_ASSIGN(auto file, LockedFile::open(place));
  std::string pattern = places_.llvm_pattern;
  drop_pool_size(pattern);
  if (pattern.find("%m") != std::string::npos && !file.text().empty()) {  // the runtime merges too
    const std::string earlier = directory_ + "/earlier.profdata";
    SPORE_TRY(write_file(earlier, file.text()));
    inputs += earlier + "\n";
  }
  const std::string list = directory_ + "/inputs";
  const std::string merged = directory_ + "/merged.profdata";
  SPORE_TRY(write_file(list, inputs));
  SPORE_TRY(add_advice(run_on_host({variable("LLVM_PROFDATA", "llvm-profdata"), "merge",
                                    "--input-files=" + list, "-o", merged}),
                       "LLVM_PROFDATA names the llvm-profdata of your clang"));
  SPORE_ASSIGN(const std::string text, read_file(merged));
  return file.replace(text);
}

// As libgcov: a prefix in place of so many directories.
std::string Coverage::gcov_place(const std::string& name) const {
  std::string path = "/" + name;
  for (int i = 0; i < places_.gcov_prefix_strip; ++i) {
    const auto next = path.find('/', 1);
    if (next == std::string::npos) {
      break;
    }
    path.erase(0, next);
  }
  if (!places_.gcov_prefix.empty()) {
    return places_.gcov_prefix + path;
  }
  return places_.gcov_prefix_strip > 0 ? "." + path : "/" + name;
}

std::string Coverage::llvm_place() const {
  std::string path = places_.llvm_pattern;
  drop_pool_size(path);
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  replace_all(path, "%c", "");
  replace_all(path, "%p", std::to_string(::getpid()));
  replace_all(path, "%h", host.data());
  replace_all(path, "%t", variable("TMPDIR", ""));
  replace_all(path, "%m", fs::path(program_).filename().string());
  return path;
}

}  // namespace spore::gtest_runner
