// A Runner on machines that are processes of this host (support/fake_session.h), and what its tests
// look at.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <regex>

#include "gtest_runner/run/runner.h"
#include "support/fake_session.h"

namespace spore::gtest_runner {

class Captured : public TextSink {
 public:
  void out(std::string_view text) override { append(out_text, text); }
  void err(std::string_view text) override { append(err_text, text); }
  std::string out_text;
  std::string err_text;
  std::function<void()> on_text;

 private:
  void append(std::string& to, std::string_view text) {
    const std::lock_guard lock(mutex_);
    to += text;
    if (on_text) {
      on_text();
    }
  }
  std::mutex mutex_;
};

inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

inline std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What a report says but for times: the same for a run with and without children.
inline std::string timeless_xml(const std::string& path) {
  pugi::xml_document document;
  document.load_file(path.c_str());
  for (const auto& node : document.select_nodes("//*[@time]")) {
    node.node().remove_attribute("time");
    node.node().remove_attribute("timestamp");
  }
  std::ostringstream text;
  document.save(text, " ");
  // A parameter that is a pointer has another value in every process.
  return std::regex_replace(text.str(), std::regex("0x[0-9a-f]+"), "(pointer)");
}

inline nlohmann::json timeless_json(nlohmann::json value) {
  if (value.is_object()) {
    value.erase("time");
    value.erase("timestamp");
  }
  if (value.is_structured()) {
    for (auto& entry : value) {
      entry = timeless_json(entry);
    }
  }
  return value;
}

class RunnerTest : public ::testing::Test {
 protected:
  RunnerTest() {
    directory_ = ::testing::TempDir() + "/spore_runner_XXXXXX";
    if (mkdtemp(directory_.data()) == nullptr) {
      std::abort();
    }
    options_.guest_scratch = directory_;
    options_.stack_library = SPORE_STACK_LIBRARY;
    options_.workdir = "/";
    options_.shards = 3;
    options_.shards_given = true;
  }
  ~RunnerTest() override {
    EXPECT_EQ(session_.log().open_machines, 0) << "a machine was left behind";
    std::filesystem::remove_all(directory_);
  }

  static std::string path_of(const std::string& subject) {
    return subject.starts_with('/') ? subject : fmt::format("{}/{}", SPORE_SUBJECTS, subject);
  }
  // A variant of checked/, or nothing where this build cannot make it.
  static std::string checked(const std::string& variant) {
    const std::string path = fmt::format("{}/{}", SPORE_CHECKED, variant);
    return std::filesystem::exists(path) ? path : "";
  }
  Result<int> run(const std::string& subject) {
    options_.binary = path_of(subject);
    const auto program = inspect_program(options_.binary);
    if (!program) {
      return fail(program.error());
    }
    Runner runner(session_, options_, *program, {"root.squashfs"}, sink_, false,
                  [](std::string_view) {});
    if (is_warm_) {
      runner.start_warm(start_key(options_, *program, "today"));
    }
    return runner.run();
  }
  int run_plainly(const std::string& subject, const std::string& flags) {
    return std::system(fmt::format("{} {} >/dev/null 2>&1", path_of(subject), flags).c_str());
  }

  std::string directory_;
  testing::FakeSession session_;
  Options options_;
  Captured sink_;
  bool is_warm_ = false;
};

}  // namespace spore::gtest_runner
