// Spores on disk: values of the public API, and what can be done with them without any machine.
// The format is described in core/src/snapshot/FORMAT.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "spore/machine.h"
#include "spore/result.h"

namespace spore {

struct SaveOptions {
  std::map<std::string, std::string> annotations{};  // for people and tools
  // Also RAM uncompressed, which this host maps without reading it. Others read the chunks.
  bool flat = true;
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
  std::string backing;        // of its RAM: "flat", "lazy", or "memory" (all was read)
  std::uint64_t load_us = 0;  // reading and checking everything but RAM
};

}  // namespace spore
