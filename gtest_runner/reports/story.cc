#include "story.h"

#include <fmt/format.h>

namespace spore::gtest_runner {
namespace {

constexpr std::size_t kMostText = std::size_t{64} * 1024;  // bytes of one text

// The beginning and the end of a text that is too long.
std::string bounded(const std::string& text) {
  if (text.size() <= kMostText) {
    return text;
  }
  constexpr std::size_t kHalf = kMostText / 2;
  return fmt::format("{}\n... {} bytes left out ...\n{}", text.substr(0, kHalf),
                     text.size() - 2 * kHalf, text.substr(text.size() - kHalf));
}

}  // namespace

void Story::began(Clock::time_point when, std::string name) {
  const std::lock_guard lock(mutex_);
  zero_ = when;
  told_.phases.push_back({.name = std::move(name), .began = 0, .seconds = now()});
}

void Story::did(std::string name, double seconds) {
  const std::lock_guard lock(mutex_);
  told_.phases.push_back({.name = std::move(name), .began = now() - seconds, .seconds = seconds});
}

std::size_t Story::forked(std::size_t worker, int attempt) {
  const std::lock_guard lock(mutex_);
  ChildStory child;
  child.worker = worker;
  child.attempt = attempt;
  child.forked = now();
  told_.children.push_back(std::move(child));
  return told_.children.size() - 1;
}

void Story::given(std::size_t child, std::size_t batch) {
  const std::lock_guard lock(mutex_);
  child_of_batch_[batch] = child;
}

void Story::reset(std::size_t child) {
  const std::lock_guard lock(mutex_);
  if (detailed_) {
    told_.children[child].resets.push_back(now());
  }
}

void Story::lost(std::size_t child, const std::string& why) {
  const std::lock_guard lock(mutex_);
  told_.children[child].losses.emplace_back(now(), bounded(why));
}

void Story::kept(std::size_t child, std::size_t test, const std::string& path) {
  const std::lock_guard lock(mutex_);
  told_.children[child].kept.push_back({.at = now(), .test = test, .path = path});
}

void Story::measured(std::size_t child, std::uint64_t private_bytes) {
  const std::lock_guard lock(mutex_);
  told_.children[child].private_bytes = private_bytes;
}

void Story::retired(std::size_t child) {
  const std::lock_guard lock(mutex_);
  told_.children[child].ended = now();
}

void Story::ended(const std::vector<TestRecord>& records, int attempt) {
  const std::lock_guard lock(mutex_);
  if (detailed_) {
    for (const TestRecord& record : records) {
      told_.tests.push_back(make_test(record, attempt));
    }
  }
  child_of_batch_.clear();
}

TestStory Story::make_test(const TestRecord& record, int attempt) {
  TestStory test;
  test.test = record.test;
  test.attempt = attempt;
  test.outcome = record.outcome;
  test.crashed = !record.death.empty() && !record.stopped;
  const auto child = child_of_batch_.find(record.batch);
  if (child != child_of_batch_.end()) {
    test.child = child->second;
    for (const KeptStory& kept : told_.children[child->second].kept) {
      test.kept = kept.test == record.test ? kept.path : test.kept;
    }
  }
  if (record.began != Clock::time_point{}) {
    test.began = since(record.began);
    test.ended = since(record.ended);
    test.seconds = static_cast<double>(record.time_ms) / 1000;
  }
  if (record.outcome != Outcome::kFailed) {
    return test;
  }
  for (const Failure& failure : find_failures(record)) {
    test.failures.push_back(
        {.location = bounded(failure.location), .message = bounded(failure.message)});
  }
  add_text(test, "what it printed", record.before + record.output);
  add_text(test, "on stderr", record.errors);
  const auto console = record.death.find(kConsoleHeading);
  add_text(test, "how it ended", record.death.substr(0, console));
  if (console != std::string::npos) {
    add_text(test, "the end of the machine's console",
             record.death.substr(console + std::string_view(kConsoleHeading).size()));
  }
  return test;
}

void Story::add_text(TestStory& test, const char* title, const std::string& text) {
  if (text.empty()) {
    return;
  }
  std::string shown = bounded(text);
  if (shown.size() > texts_left_) {
    shown = "(left out: the texts of all failures would be too long)";
  }
  texts_left_ -= std::min(texts_left_, shown.size());
  test.texts.emplace_back(title, std::move(shown));
}

}  // namespace spore::gtest_runner
