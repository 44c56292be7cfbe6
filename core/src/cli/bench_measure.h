// The measurements of `spore bench`, through nothing but the public API, so that both engines are
// measured as tests use them.
#pragma once

#include <cstdint>
#include <string>

#include "cli/bench_report.h"
#include "spore/machine.h"
#include "spore/result.h"

namespace spore::cli {

struct BenchOptions {
  std::string engine = "auto";
  std::uint64_t memory_bytes = 512 * kMiB;
  bool quick = false;  // fewer samples, fewer sizes
};

Result<BenchReport> run_bench(const BenchOptions& options);

}  // namespace spore::cli
