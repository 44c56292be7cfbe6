// Spores on disk: values of the public API, and what can be done with them without any machine.
// The format is described in core/src/snapshot/FORMAT.md. Everything that is read is checked before
// it is believed; kCorrupt names the file that is not as it was written. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/machine.h"
#include "spore/result.h"

namespace spore {

struct SaveOptions {
  std::map<std::string, std::string> annotations{};  // for people and tools
  // Also RAM uncompressed, which this host maps without reading it. Others read the chunks.
  bool flat = true;
  // Nothing of it is left to other spores, whatever is on disk: it has no parent.
  bool whole = false;
};

// A spore as it was written.
struct SavedSpore {
  std::string id;                   // SHA-256 of its manifest
  std::string path;                 // absolute
  std::string parent;               // id of the spore that it is a layer on; empty: none
  std::uint64_t memory_bytes = 0;   // the machine's RAM
  std::uint64_t content_bytes = 0;  // of it, what this spore stores
  std::uint64_t file_bytes = 0;     // compressed
  std::uint64_t chunks = 0;
  std::uint64_t ram_us = 0;      // hashing, compressing, writing the chunks
  std::uint64_t flat_us = 0;     // writing the flat backing
  std::uint64_t publish_us = 0;  // manifest, waiting for the disk, renaming
};

struct LoadOptions {
  // A kernel file: a spore whose guest runs another one is refused. Empty: any.
  std::string kernel{};
  // Uses the flat backing if there is one with proof; else RAM comes from the chunks.
  bool flat = true;
};

// Where a spore came from that was read from disk.
struct LoadedSpore {
  std::string id;
  std::string path;  // absolute
  std::string parent;
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpus = 0;
  std::map<std::string, std::string> annotations;
  // Who the machine is to be: of a child that was forked on disk.
  std::optional<ForkParameters> fork;
  // Of its RAM: "flat", "lazy", "memory" (all was read), or "shared" with a spore of this session.
  std::string backing;
  std::uint64_t load_us = 0;  // reading and checking everything but RAM
};

// ---- inspecting
// -------------------------------------------------------------------------------

// What a host must offer so that the guest finds the machine it was captured on.
struct SporePlatform {
  std::string architecture;  // "x86_64"
  std::uint32_t board = 0;   // version of the board's memory map and device list
  std::string backend;       // "kvm"
  std::string cpu_vendor;
  std::vector<std::string> cpu_features;  // as the guest saw them; ascending
  std::string clock;                      // "kvm-clock"
  std::uint32_t tsc_khz = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpus = 0;
  std::string kernel_sha256;
  bool operator==(const SporePlatform&) const = default;
};

struct SporeAncestor {
  std::string id;
  std::string path;  // absolute
};

struct SporeImage {
  std::string sha256;
  std::uint64_t bytes = 0;
  std::string name;   // where it was at the capture
  std::string found;  // where it is now: absolute path; empty: missing
};

// One `ram` section: what a spore stores of RAM itself.
struct RamLayer {
  std::string sha256;       // of the section
  std::string path;         // of the spore that it is the own one of
  std::uint64_t pages = 0;  // of 4 KiB
  std::uint64_t chunks = 0;
  std::uint64_t file_bytes = 0;  // the chunks, compressed
  std::uint64_t flat_bytes = 0;  // the flat backing, on disk; 0: none
  // It has a proof. Only the host that wrote it can tell whether the proof is good.
  bool flat_proof = false;
};

struct BadFile {
  std::string path;
  std::string why;  // a sentence
};

struct InspectOptions {
  bool verify = false;  // reads and checks every file of it and of its parents, on all cores
};

struct SporeReport {
  std::string id;                      // SHA-256 of its manifest
  std::string path;                    // absolute
  std::uint64_t created = 0;           // seconds since 1970
  std::string created_by;              // the version of the program
  std::vector<SporeAncestor> parents;  // the nearest first
  Generation generation;               // of the machine that was captured
  std::optional<ForkParameters> fork;  // who its machine is to be: forked on disk
  SporePlatform platform;
  std::vector<SporeImage> images;  // the lowest first
  std::vector<RamLayer> ram;       // its own first, then what that one is on top of
  std::map<std::string, std::string> annotations;
  bool verified = false;
  // What is missing or damaged. Without `verify` only what was found on the way.
  std::vector<BadFile> bad;
};

// kNotFound: there is no spore; kCorrupt: its manifest, or one of its parents, is damaged.
Result<SporeReport> inspect_spore(const std::string& path, const InspectOptions& options = {});

// ---- forking on disk
// --------------------------------------------------------------------------

struct DiskForkOptions {
  std::string name{};                         // the machines are "<name>-<index>"; empty: "<index>"
  std::map<std::string, std::string> user{};  // for every child; at most 3 KiB in all
};

struct ForkedSpore {
  std::string id;
  std::string path;  // absolute: "<folder>/000000" and so on
};

struct DiskForks {
  std::string parent;  // id
  std::string path;    // of the folder that holds them, absolute
  std::vector<ForkedSpore> children;
  std::uint64_t fork_us = 0;  // until all is there under its name
};

inline constexpr std::uint32_t kMaxDiskForks = 1'000'000;

// `count` children of the spore `path`, each its own shard, in the new folder `folder`, which
// appears with all of them or not at all. No RAM is written: a child is a manifest. They need the
// spore where it is: move both together. kInvalidArgument: `folder` is there already, or no machine
// could be such a child.
Result<DiskForks> fork_spore(const std::string& path, std::uint32_t count,
                             const std::string& folder, const DiskForkOptions& options = {});

// ---- comparing
// --------------------------------------------------------------------------------

struct RamRange {
  std::uint64_t offset = 0;  // in the guest's RAM, bytes
  std::uint64_t bytes = 0;
};

struct FieldDifference {
  std::string part;  // vm, agent, platform, images, annotations, generation, fork
  std::string path;  // JSON pointer in it; CPU features by name
  std::string left;  // as JSON; empty: not there
  std::string right;
};

struct SporeDifference {
  std::string left;  // ids
  std::string right;
  std::uint64_t pages = 0;        // of RAM that differ; what only one has counts as zeros there
  std::vector<RamRange> ranges;   // of them, ascending
  std::uint64_t chunks_read = 0;  // the others had the same digests
  std::vector<FieldDifference> fields;
  [[nodiscard]] bool same() const noexcept { return pages == 0 && fields.empty(); }
};

Result<SporeDifference> diff_spores(const std::string& left, const std::string& right);

// ---- tidying up
// -------------------------------------------------------------------------------

struct GarbageOptions {
  bool dry_run = true;  // says what it would remove
  bool all = false;     // also what may be in the making: written to in the last hour
};

struct Garbage {
  std::string kind;  // staging, chunk, section, image, flat
  std::string path;
  std::uint64_t bytes = 0;  // on disk
  std::string why;
};

struct GarbageReport {
  std::vector<Garbage> items;
  std::uint64_t bytes = 0;
  bool removed = false;            // false: a dry run
  std::vector<std::string> notes;  // what was left alone, and why
};

// Below `folder`: what crashes left in the making, files that no spore there needs, flat backings
// without proof. Nothing else is touched, and nothing through a symbolic link.
Result<GarbageReport> collect_garbage(const std::string& folder,
                                      const GarbageOptions& options = {});

struct RemoveOptions {
  bool force = false;  // though others need it, or it is damaged, or holds other files
};

struct RemovedSpore {
  std::string id;  // empty: its manifest was damaged
  std::string path;
  std::uint64_t bytes = 0;  // on disk
};

// It is gone at once; its bytes are freed after that. kInvalidArgument: it is no spore, or (without
// `force`) a spore near it, in the same folder or one below, has it as its parent.
Result<RemovedSpore> remove_spore(const std::string& path, const RemoveOptions& options = {});

// ---- bundles
// ----------------------------------------------------------------------------------

// Takes the next bytes of a bundle.
using BundleSink = std::function<Result<void>(std::string_view bytes)>;
// Fills the front of `bytes` and says how much; 0: there are no more.
using BundleSource = std::function<Result<std::size_t>(std::span<char> bytes)>;

struct PackOptions {
  bool images = true;  // also the root images
};

struct UnpackOptions {
  std::string digest{};  // refuse a bundle with another one; empty: any
};

struct BundledSpore {
  std::string name;  // its directory in the bundle; ".": the bundle is this spore
  std::string id;
  std::string parent;  // id; empty: none
};

struct Bundle {
  std::string digest;  // SHA-256 of bundle.json, which names all else
  std::string path;    // absolute: the file, or the directory that it was unpacked to; may be empty
  std::vector<BundledSpore> spores;
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;        // of the stream
  std::uint64_t image_bytes = 0;  // of it, root images
};

// One spore, or several of one tree, with all parents that they need, as one tar stream. The same
// spores give the same bytes.
Result<Bundle> pack_spores(const std::vector<std::string>& paths, const BundleSink& sink,
                           const PackOptions& options = {});
// The same into the new file `file`, which appears whole or not at all.
Result<Bundle> pack_spores_to(const std::vector<std::string>& paths, const std::string& file,
                              const PackOptions& options = {});

// Reads the source once, to its end. `folder` must not exist; it appears whole or not at all.
// kCorrupt: the bundle is damaged, or not one that pack_spores() writes.
Result<Bundle> unpack_bundle(const BundleSource& source, const std::string& folder,
                             const UnpackOptions& options = {});
Result<Bundle> unpack_bundle_file(const std::string& file, const std::string& folder,
                                  const UnpackOptions& options = {});

// ---- the same for programs
// --------------------------------------------------------------------

// One JSON object with all fields by their names; what --json prints.
std::string json_text(const SporeReport& report);
std::string json_text(const DiskForks& forks);
std::string json_text(const SporeDifference& difference);
std::string json_text(const GarbageReport& report);
std::string json_text(const RemovedSpore& removed);
std::string json_text(const Bundle& bundle);

}  // namespace spore
