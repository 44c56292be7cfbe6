// A test program with suites that are set up in every way that there is, for the runner's own
// tests. Each call of a SetUpTestSuite adds a line to the file SUBJECT_SET_UPS.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

namespace {

void note_set_up(const std::string& suite) {
  if (const char* path = std::getenv("SUBJECT_SET_UPS")) {
    std::ofstream(path, std::ios::app) << suite << std::endl;
  }
}

class Environment : public testing::Environment {
  void TearDown() override {
    if (std::getenv("SUBJECT_FAILS_TEAR_DOWN") != nullptr) {
      ADD_FAILURE() << "the environment stays";
    }
  }
};
[[maybe_unused]] const auto* const kEnvironment =
    testing::AddGlobalTestEnvironment(new Environment);

TEST(None, A) {}
TEST(None, B) {}

// Its tests change what SetUpTestSuite made: each is to find it as it was then.
class Counted : public testing::Test {
 public:
  Counted() { EXPECT_EQ(count, 1); }

 protected:
  static void SetUpTestSuite() {
    note_set_up("Counted");
    std::puts("Counted is set up");
    RecordProperty("made", "once");
    ++count;
  }
  static void TearDownTestSuite() {
    if (std::getenv("SUBJECT_FAILS_TEAR_DOWN") != nullptr) {
      ADD_FAILURE() << "the suite stays";
    }
  }
  static int count;
};
int Counted::count = 0;
TEST_F(Counted, First) {
  ++count;
}
TEST_F(Counted, DISABLED_Second) {}
TEST_F(Counted, Third) {
  std::puts("third");
  ++count;
}
TEST_F(Counted, Fourth) {
  ++count;
  EXPECT_EQ(count, 3) << "fails in any machine";
}

class Failing : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    note_set_up("Failing");
    FAIL() << "this suite cannot be";
  }
};
TEST_F(Failing, A) {}
TEST_F(Failing, B) {}

class Throwing : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    note_set_up("Throwing");
    throw std::runtime_error("thrown in a set-up");
  }
};
TEST_F(Throwing, A) {}

class Dying : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    note_set_up("Dying");
    if (std::getenv("SUBJECT_HANGS") != nullptr) {
      pause();
    }
    if (std::getenv("SUBJECT_DIES") != nullptr) {
      std::_Exit(3);
    }
  }
};
TEST_F(Dying, A) {}
TEST_F(Dying, B) {}

class Valued : public Counted, public testing::WithParamInterface<int> {
 protected:
  static void SetUpTestSuite() {
    note_set_up("Valued");
    count = 1;
  }
};
TEST_P(Valued, IsAlone) {
  ++count;
}
INSTANTIATE_TEST_SUITE_P(Numbers, Valued, testing::Range(0, 3));

}  // namespace
