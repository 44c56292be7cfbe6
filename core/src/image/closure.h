// The files that a program needs to start: its interpreter (ELF or #!) and its shared libraries,
// found as the dynamic linker of this host finds them, LD_LIBRARY_PATH apart.
// Hostile bytes: programs and libraries (elf.h), and the first line of scripts.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "image/elf.h"
#include "spore/result.h"

namespace spore::image {

// The path of a program that is given by path or by its name in PATH.
Result<std::string> find_program(const std::string& name);

class Closure {
 public:
  // Adds a program (ELF or script) and all that it loads. An Error names what is missing.
  Result<void> add_program(const std::string& path);

  // Adds what an ELF library loads, as far as it can be found: extension modules often name
  // libraries that the program has loaded before them, or that are optional. Anything that is no
  // ELF file of this architecture is left alone.
  void add_library(const std::string& path);

  // Host paths, with their symbolic links unresolved.
  [[nodiscard]] const std::set<std::string>& files() const noexcept { return files_; }

 private:
  // What a library inherits from those that load it (DT_RPATH).
  using SearchPath = std::vector<std::string>;

  Result<void> add_program_at_depth(const std::string& path, int depth);
  Result<void> add_script(const std::string& path, std::string_view line, int depth);
  Result<void> add_needed(const std::string& path, const ElfInfo& info, const SearchPath& inherited,
                          bool strict);
  std::string find_library(const std::string& name, const SearchPath& search);
  const std::vector<std::string>& system_directories();
  // Nothing when it is not there, or is no ELF file of this architecture.
  const std::optional<ElfInfo>& elf_at(const std::string& path);
  const std::string& resolve(const std::string& path);

  std::set<std::string> files_;
  std::set<std::string> visited_;                        // ELF files, symbolic links resolved
  std::map<std::string, std::string> system_libraries_;  // by name; empty: not there
  std::vector<std::string> system_directories_;
  // A few libraries are needed by nearly every file; each is looked at once.
  std::map<std::string, std::optional<ElfInfo>> elf_files_;
  std::map<std::string, std::string> resolved_;
};

}  // namespace spore::image
