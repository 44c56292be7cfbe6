// --html: the run as one page that needs nothing else: the pytest plugin's (page.html), with what
// spore-test has to tell. Names, output and consoles come from the guest: all is escaped where it
// is put, in HTML and in the script's data alike.
#pragma once

#include <string>

#include "own_report.h"

namespace spore::gtest_runner {

std::string html_page(const OwnReport& report);

}  // namespace spore::gtest_runner
