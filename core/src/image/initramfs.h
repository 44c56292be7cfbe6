// Initramfs files: an init program and the kernel modules it loads, as an uncompressed cpio (the
// guest may be a slow interpreter: unpacking is the cost that matters).
// Hostile bytes: the module tree's files, which are only indexed and unpacked here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "image/cache.h"
#include "spore/result.h"

namespace spore::image {

// What a guest needs to reach its root and the agent's channels.
inline const std::vector<std::string> kGuestModules = {
    "virtio_mmio", "virtio_blk", "virtio_console", "vmw_vsock_virtio_transport",
    "virtio-rng",  "squashfs",   "overlay",        "dummy"};
// What the emulated KVM host needs; KVM itself is in kNestOptionalModules.
inline const std::vector<std::string> kNestModules = {
    "virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_console", "virtio-rng"};
inline const std::vector<std::string> kNestOptionalModules = {"kvm-amd", "kvm-intel"};

struct InitramfsFile {
  std::string source;  // host path of a regular file
  std::string target;  // absolute path inside
  std::uint32_t mode = 0644;
};

struct InitramfsSpec {
  std::string init_path;                      // a static program: becomes /init
  std::string kernel_release;                 // names the folder in modules_root
  std::vector<std::string> modules;           // with all that they depend on; an Error if missing
  std::vector<std::string> optional_modules;  // left out if missing
  std::vector<InitramfsFile> files;
  std::string modules_root = "/lib/modules";
};

// The path of the initramfs, made if it is not in the cache. Modules lie in /modules as
// NNN-<name>.ko, unpacked; to load them in the order of their file names is right. The directories
// /dev /proc /sys /run /newroot and the device node /dev/console are there.
Result<std::string> build_initramfs(const InitramfsSpec& spec);
Result<std::string> build_initramfs(const InitramfsSpec& spec, const Cache& cache);

// The files of `modules` and of all that they depend on, in the order in which to load them, as
// paths below `directory` (/lib/modules/<release>). Modules built into the kernel are left out.
Result<std::vector<std::string>> resolve_modules(const std::string& directory,
                                                 const std::vector<std::string>& modules,
                                                 const std::vector<std::string>& optional_modules);

}  // namespace spore::image
