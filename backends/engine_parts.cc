// What the machines of an engine are made from: of the host's files, those that no runner chooses.
#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

#include "image/initramfs.h"
#include "image/kernel.h"
#include "kept/host_digests.h"
#include "nest/environment.h"
#include "spore/kept.h"

namespace spore {
namespace {

// The file that this code was loaded from: a program, or a library.
Result<std::string> own_file() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&own_file), &info) == 0 || info.dli_fname == nullptr) {
    return fail(ErrorCode::kInternal, "finding Spore's own file: the loader does not know it");
  }
  return std::string(info.dli_fname);
}

}  // namespace

Result<KeptParts> engine_parts(const std::string& engine) {
  SPORE_ASSIGN(const snapshot::KnownDigests known, kept::open_host_digests());
  SPORE_ASSIGN(const image::Kernel kernel, image::find_kernel(""));
  SPORE_ASSIGN(const std::string agent, nest::helper_program("spore-agent"));
  SPORE_ASSIGN(const std::string initramfs,
               image::build_initramfs({.init_path = agent,
                                       .kernel_release = kernel.release,
                                       .modules = image::kGuestModules,
                                       .optional_modules = {},
                                       .files = {}}));
  SPORE_ASSIGN(const std::string program, nest::spore_program());
  SPORE_ASSIGN(const std::string self, own_file());
  KeptParts parts{{"engine", engine}};
  SPORE_ASSIGN(parts["guest kernel"], known.of_file(kernel.elf_path));
  SPORE_ASSIGN(parts["guest agent and modules"], known.of_file(initramfs));
  SPORE_ASSIGN(parts["Spore's program"], known.of_file(program));
  SPORE_ASSIGN(parts["Spore's library"], known.of_file(self));
  return parts;
}

}  // namespace spore
