#include "program.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

namespace spore::gtest_runner {
namespace {

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
#endif

constexpr const char* kHelpTexts[] = {"Catch v", "Catch2 v", "doctest version is"};

constexpr std::size_t kSearchBlock = std::size_t{1} << 20;

std::string_view machine_name(Elf64_Half machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86_64";
    case EM_AARCH64:
      return "aarch64";
    case EM_386:
      return "i386";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return "riscv";
    default:
      return "another architecture";
  }
}

Result<void> check_header(std::ifstream& file, const std::string& path) {
  Elf64_Ehdr header{};
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is not an ELF program: give the compiled test binary itself, not "
                            "a script around it",
                            path));
  }
  const bool same_class =
      header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_ident[EI_DATA] == ELFDATA2LSB;
  if (!same_class || header.e_machine != kMachine) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is built for {}, and the machines here are {}: build it for this "
                            "architecture",
                            path, machine_name(header.e_machine), machine_name(kMachine)));
  }
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is an ELF file, but not a program: link it first", path));
  }
  return {};
}

bool contains(std::ifstream& file, std::string_view needle) {
  file.clear();
  file.seekg(0);
  std::vector<char> block(kSearchBlock);
  std::size_t kept = 0;  // a marker may lie across two blocks
  const std::boyer_moore_horspool_searcher searcher(needle.begin(), needle.end());
  for (;;) {
    file.read(block.data() + kept, static_cast<std::streamsize>(block.size() - kept));
    const std::size_t filled = kept + static_cast<std::size_t>(file.gcount());
    const auto end = block.begin() + static_cast<std::ptrdiff_t>(filled);
    if (std::search(block.begin(), end, searcher) != end) {
      return true;
    }
    if (!file) {
      return false;
    }
    kept = std::min(filled, needle.size() - 1);
    std::copy(end - static_cast<std::ptrdiff_t>(kept), end, block.begin());
  }
}

}  // namespace

Result<Program> inspect_program(const std::string& path) {
  const std::string attempted = fmt::format("opening the test binary {}", path);
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    return fail(Error::from_errno(errno, attempted));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: it is not a file", attempted));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(Error::from_errno(errno, attempted));
  }
  if (access(path.c_str(), X_OK) != 0) {
    return fail(ErrorCode::kPermissionDenied,
                fmt::format("{} is not executable: chmod +x it", path));
  }
  SPORE_TRY(check_header(file, path));
  std::error_code error;
  const auto directory =
      std::filesystem::canonical(std::filesystem::absolute(path, error).parent_path(), error);
  if (error) {
    return fail(Error::from_errno(error.value(), attempted));
  }
  const bool reads_arguments = contains(file, kArgumentsMarker);
  return Program{.path = directory / std::filesystem::path(path).filename(),
                 .has_fixture_point = reads_arguments || contains(file, kFixtureMarker),
                 .has_suite_points = contains(file, kSuiteMarker),
                 .is_sanitized = contains(file, "__asan_") || contains(file, "__tsan_") ||
                                 contains(file, "__msan_"),
                 .reads_arguments = reads_arguments,
                 .mentions_another_framework =
                     std::any_of(std::begin(kHelpTexts), std::end(kHelpTexts),
                                 [&](const char* text) { return contains(file, text); })};
}

Result<void> check_abilities(const Program& program, const Options& options) {
  const bool wants_suites = options.scope == Scope::kSuite;
  if (program.has_suite_points || !(wants_suites || options.skip_teardown)) {
    return {};
  }
  return fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: {} is linked with {}: link spore_gtest_main (CMake: spore::gtest_main) in "
                  "place of gtest_main if it is a GoogleTest program, or leave the option out",
                  wants_suites ? "--scope=suite" : "--teardown=skip", program.path,
                  program.has_fixture_point && !program.reads_arguments
                      ? "a spore_gtest_main that is too old for it"
                      : "a main() that cannot do that"));
}

}  // namespace spore::gtest_runner
