// The merged JSON file; see xml_report.h.
#pragma once

#include <string>

#include "results.h"

namespace spore::gtest_runner {

std::string merge_json(const RunResults& results);

}  // namespace spore::gtest_runner
