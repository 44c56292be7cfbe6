// The merged text of a framework whose own console report tells of failures only: what each test
// printed, its failures in the framework's manner, and the framework's summary.
#pragma once

#include "gtest_runner/frameworks/case_format.h"
#include "gtest_runner/frameworks/framework.h"

namespace spore::gtest_runner {

class PlainReport final : public TextReport {
 public:
  // `format` must outlive it.
  PlainReport(const CaseFormat& format, const ReportParts& parts)
      : TextReport(parts.sink, parts.list, parts.selection, parts.style, parts.heading),
        format_(format) {}

 protected:
  void print_heading() override;
  void print_test(const TestRecord& record) override;
  void print_end(std::int64_t total_ms) override;

 private:
  const CaseFormat& format_;
};

}  // namespace spore::gtest_runner
