// Coverage of programs whose runs were many: what GCC's and clang's own tools read from it is what
// they read after one run.
#include "gtest_runner/coverage/coverage.h"

#include "unit/gtest_runner/runner_harness.h"

namespace spore::gtest_runner {
namespace {

using ::testing::HasSubstr;

std::string output_of_shell(const std::string& line) {
  std::string text;
  std::FILE* pipe = popen(line.c_str(), "r");
  char block[4096];
  for (std::size_t got = 1; pipe != nullptr && got > 0;) {
    got = std::fread(block, 1, sizeof block, pipe);
    text.append(block, got);
  }
  return pipe != nullptr && pclose(pipe) == 0 ? text : "failed: " + text;
}

class CoverageTest : public RunnerTest {
 protected:
  CoverageTest() { options_.gtest.filter = "Plain.*"; }
  ~CoverageTest() override {
    unsetenv("GCOV_TOOL");
    unsetenv("GCOV_PREFIX");
  }

  // The .gcda file below `prefix`.
  static std::string profile_in(const std::string& prefix) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(prefix)) {
      if (entry.path().extension() == ".gcda") {
        return entry.path().string();
      }
    }
    return "";
  }
  // Each line of code.cc with its count, as gcov tells it.
  static std::string counts(const std::string& prefix) {
    const std::string profile = profile_in(prefix);
    std::filesystem::path notes = profile;
    notes.replace_extension(".gcno");
    std::filesystem::copy_file(notes.string().substr(prefix.size()), notes,
                               std::filesystem::copy_options::overwrite_existing);
    const std::string text = output_of_shell(fmt::format("gcov -t {} 2>&1", profile));
    std::istringstream lines(text);
    std::string counts;
    bool is_ours = false;
    for (std::string line; std::getline(lines, line);) {
      if (const auto source = line.find(":    0:Source:"); source != std::string::npos) {
        is_ours = line.ends_with("/code.cc");
      } else if (is_ours && line.find(":    0:") == std::string::npos) {  // not about the files
        counts += line + "\n";
      }
    }
    return counts;
  }
  static std::string count_of(const std::string& counts, const std::string& line) {
    std::istringstream lines(counts);
    for (std::string text; std::getline(lines, text);) {
      if (text.find(line) != std::string::npos) {
        return text.substr(0, text.find(':'));
      }
    }
    return "no such line";
  }
  std::string plainly(const std::string& name, const std::string& filter = "Plain.*") {
    const std::string prefix = fmt::format("{}/{}", directory_, name);
    EXPECT_EQ(std::system(fmt::format("GCOV_PREFIX={} {} --gtest_filter='{}' > /dev/null 2>&1",
                                      prefix, checked("gcov"), filter)
                              .c_str()),
              0);
    return prefix;
  }
  std::string in_children(const std::string& name, std::uint32_t children) {
    options_.profiles.gcov_prefix = fmt::format("{}/{}", directory_, name);
    setenv("GCOV_PREFIX", options_.profiles.gcov_prefix.c_str(), 1);  // as it comes to be
    options_.shards = children;
    options_.guest_scratch = fmt::format("{}/guest-{}", directory_, ++runs_);  // another machine
    std::filesystem::create_directory(options_.guest_scratch);
    const auto status = run(checked("gcov"));
    EXPECT_TRUE(status && *status == 0) << sink_.err_text;
    return options_.profiles.gcov_prefix;
  }
  int runs_ = 0;
};

class GcovTest : public CoverageTest {
 protected:
  void SetUp() override {
    if (checked("gcov").empty()) {
      GTEST_SKIP() << "this build's compiler is not GCC";
    }
  }
};

TEST_F(GcovTest, CountsOfOneChildAreThoseOfARunWithoutMachines) {
  const std::string plain = counts(plainly("plain"));
  EXPECT_THAT(plain, HasSubstr("int sign(int number)"));
  EXPECT_EQ(counts(in_children("children", 1)), plain);
}

TEST_F(GcovTest, CountsOfManyAreTheirSum) {
  options_.dist = Dist::kLoad;
  const std::string plain = counts(plainly("plain"));
  const std::string sum = counts(in_children("children", 3));
  for (const char* line : {"sum += i;", "int sum = 0;", "return sum;"}) {
    EXPECT_EQ(count_of(sum, line), count_of(plain, line)) << line;
  }
}

TEST_F(GcovTest, ARunAddsToTheLast) {
  const std::string prefix = plainly("plain");
  plainly("plain");
  const std::string twice = counts(prefix);
  in_children("children", 1);
  EXPECT_EQ(counts(in_children("children", 1)), twice);
}

TEST_F(GcovTest, CountsOfAnotherCompilationAreReplaced) {
  const std::string once = counts(in_children("children", 1));
  const std::string profile = profile_in(options_.profiles.gcov_prefix);
  std::fstream file(profile, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(8);  // the stamp
  file << "else";
  file.close();
  EXPECT_EQ(counts(in_children("children", 1)), once);
}

TEST_F(GcovTest, AMissingToolIsToldAndNothingIsLost) {
  setenv("GCOV_TOOL", "/no/such/gcov-tool", 1);
  options_.profiles.gcov_prefix = directory_ + "/children";
  const auto status = run(checked("gcov"));
  ASSERT_FALSE(status);
  const std::string& message = status.error().message();
  EXPECT_THAT(message, HasSubstr("/no/such/gcov-tool"));
  EXPECT_THAT(message, HasSubstr("GCOV_TOOL names"));
  std::smatch found;
  ASSERT_TRUE(std::regex_search(message, found, std::regex("it is in ([^)]*)\\)"))) << message;
  EXPECT_NE(profile_in(found[1]), "");
  std::filesystem::remove_all(found[1].str());
}

TEST_F(CoverageTest, ClangsCountsAreThoseOfARunWithoutMachines) {
  const std::string program = checked("llvm");
  if (program.empty()) {
    GTEST_SKIP() << "this host has no clang++ with its profile runtime";
  }
  const std::string plain = directory_ + "/plain.profraw";
  ASSERT_EQ(std::system(fmt::format("LLVM_PROFILE_FILE={} {} --gtest_filter='Plain.*' > /dev/null",
                                    plain, program)
                            .c_str()),
            0);
  const auto shown = [&](const std::string& profile) {
    return output_of_shell(
        fmt::format("llvm-profdata merge {0} -o {0}.profdata && llvm-cov show {1} "
                    "-instr-profile={0}.profdata 2>&1",
                    profile, program));
  };
  options_.profiles.llvm_pattern = directory_ + "/children-%m.profraw";
  options_.shards = 1;
  ASSERT_EQ(run(program).value(), 0) << sink_.err_text;
  const std::string merged = directory_ + "/children-llvm.profraw";
  EXPECT_THAT(shown(plain), HasSubstr("int sign(int number)"));
  EXPECT_EQ(shown(merged), shown(plain));
}

TEST_F(CoverageTest, AProgramWithoutProfilesIsAskedOnce) {
  options_.gtest.filter = "*";
  ASSERT_EQ(run("runner_subject_mixed").value(), 1);
  const auto& executed = session_.log().executed;
  EXPECT_EQ(std::count_if(executed.begin(), executed.end(),
                          [](const ExecRequest& request) {
                            return request.argv == profile_request(request.argv.back()).argv;
                          }),
            1)
      << "when its tests are listed";
}

TEST(CoverageArchive, LinksToOtherFilesAreLeftOut) {
  std::string directory = ::testing::TempDir() + "/spore_archive_XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  ASSERT_EQ(std::system(fmt::format("ln -sf /etc/passwd {0}/a.profraw && "
                                    "mkfifo -m 600 {0}/b.profraw && tar -cf {0}.tar -C {0} .",
                                    directory)
                            .c_str()),
            0);
  Coverage coverage({.gcov_prefix = "", .llvm_pattern = directory + "/merged"}, "/program");
  ASSERT_TRUE(coverage.take(slurp(directory + ".tar")));
  EXPECT_TRUE(coverage.bring_home()) << "there is nothing to merge";
  EXPECT_FALSE(std::filesystem::exists(directory + "/merged"));
  std::filesystem::remove_all(directory);
  std::filesystem::remove(directory + ".tar");
}

TEST(ProfilePlacesTest, AreWhatTheRuntimesVariablesSay) {
  const auto places = parse_profile_places([](const std::string& name) {
    return name == "GCOV_PREFIX"         ? std::optional<std::string>("/there")
           : name == "GCOV_PREFIX_STRIP" ? std::optional<std::string>("2")
                                         : std::nullopt;
  });
  EXPECT_EQ(places.gcov_prefix, "/there");
  EXPECT_EQ(places.gcov_prefix_strip, 2);
  EXPECT_EQ(places.llvm_pattern, "default.profraw");
  std::map<std::string, std::string> env;
  set_profile_variables({.gcov_prefix = "", .llvm_pattern = "/host/%c%4m.profraw"}, "/tmp/here",
                        env);
  EXPECT_EQ(env.at("LLVM_PROFILE_FILE"), "/tmp/here/%4m.profraw");
  EXPECT_EQ(env.at("GCOV_PREFIX"), "/tmp/here");
}

}  // namespace
}  // namespace spore::gtest_runner
