// What a hostile program may print in place of its framework's elements.
#include "gtest_runner/frameworks/case_reader.h"

#include <gmock/gmock.h>

#include <random>

#include "gtest_runner/frameworks/catch2_format.h"
#include "gtest_runner/frameworks/doctest_format.h"

namespace spore::gtest_runner {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kXmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Catch name=\"x\">\n";
const std::string kXmlCase = "    <TestCase name=\"one\" filename=\"f.cc\" line=\"3\">\n";
const std::string kXmlPassed =
    "      <OverallResult success=\"true\" durationInSeconds=\"0.25\"/>\n";
const std::string kXmlCaseEnd = "    </TestCase>\n";
std::string xml_tail(int failures) {
  return "  <OverallResultsCases successes=\"1\" failures=\"" + std::to_string(failures) +
         "\" expectedFailures=\"0\"/>\n</Catch>\n";
}

class CaseReaderTest : public ::testing::Test {
 protected:
  CaseReaderTest() {
    list_.tests = {{.suite = "", .name = "one", .file = "f.cc", .line = 3},
                   {.suite = "", .name = "two", .file = "f.cc", .line = 5}};
    reader_.expect({0, 1});
  }
  Catch2Format format_;
  TestList list_;
  CaseReader reader_{format_, list_};
};

TEST_F(CaseReaderTest, ReadsATestInPieces) {
  const std::string text = "ahead\n" + kXmlHead + kXmlCase + "printed      " +
                           kXmlPassed.substr(6) + kXmlCaseEnd + xml_tail(0) + "behind";
  std::vector<TestRecord> records;
  for (const char c : text) {
    for (TestRecord& record : reader_.feed(std::string(1, c))) {
      records.push_back(std::move(record));
    }
  }
  EXPECT_FALSE(reader_.finish("died"));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].output, "printed");
  EXPECT_EQ(records[0].time_ms, 250);
  EXPECT_EQ(records[0].outcome, Outcome::kPassed);
  EXPECT_EQ(reader_.take_preamble(), "ahead\n");
  EXPECT_EQ(reader_.take_epilogue(), "behind");
  EXPECT_TRUE(reader_.completed());
  EXPECT_EQ(reader_.doubt(), "");
  EXPECT_EQ(reader_.progress(), 2U);
}

TEST_F(CaseReaderTest, PrintsStandBehindElementsInOneLine) {
  const auto records =
      reader_.feed(kXmlHead + kXmlCase +
                   "      <Failure filename=\"a>b.cc\" line=\"4\">\n one\n      </Failure>first\n" +
                   "second      <OverallResults successes=\"0\"/>third <b>\n" +
                   "      <OverallResult success=\"false\"/>\n    </TestCase>between");
  ASSERT_EQ(records.size(), 0U) << "the line goes on";
  const auto record = reader_.finish("died");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->death, "");
  EXPECT_THAT(record->output, ::testing::StartsWith("first\nsecondthird <b>\n"));
  ASSERT_EQ(record->failures.size(), 1U);
  EXPECT_EQ(record->failures[0].location, "a>b.cc:4");
  EXPECT_EQ(reader_.take_loose(), "between");
}

TEST_F(CaseReaderTest, NamesMayHaveLineBreaks) {
  const std::string failed =
      "<Expression success=\"false\" type=\"CHECK\" filename=\"f.cc\" line=\"4\">\n"
      "<Original>\n1 == 2\n</Original>\n<Expanded>\n1 == 2\n</Expanded>\n</Expression>\n";
  const auto records =
      reader_.feed(kXmlHead + kXmlCase + "      <Section name=\"on\ntwo > 1\nlines\" filename=\"" +
                   "f.cc\" line=\"4\">\n" + failed + "</Section>\n" +
                   "<OverallResult success=\"false\"/>\n" + kXmlCaseEnd + xml_tail(1));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].failures.size(), 1U);
  EXPECT_THAT(records[0].output, HasSubstr("on two > 1 lines"));
  EXPECT_EQ(reader_.doubt(), "");
}

// A test prints the begin of an element, and goes on with anything.
TEST_F(CaseReaderTest, WhatOnlyLooksLikeALongNameIsPrinted) {
  for (const std::string& between : {std::string(), std::string("more\n"),
                                     std::string("say \"no\"\n"), std::string(100, '\n')}) {
    CaseReader reader(format_, list_);
    reader.expect({0});
    const auto records = reader.feed(kXmlHead + kXmlCase + "<Section name=\"oh\n" + between +
                                     kXmlPassed + kXmlCaseEnd + xml_tail(0));
    ASSERT_EQ(records.size(), 1U) << between;
    EXPECT_EQ(records[0].output, "<Section name=\"oh\n" + between);
    EXPECT_EQ(records[0].outcome, Outcome::kPassed);
    EXPECT_EQ(reader.doubt(), "");
  }
  const auto records = reader_.feed(kXmlHead + kXmlCase + "<Section name=\"oh\n");
  ASSERT_TRUE(records.empty());
  const auto died = reader_.finish("died");
  ASSERT_TRUE(died);
  EXPECT_EQ(died->output, "<Section name=\"oh\n");
}

TEST_F(CaseReaderTest, ATestWithoutItsResultHasFailed) {
  EXPECT_TRUE(reader_.feed(kXmlHead + kXmlCase + "printed\n" + kXmlCaseEnd + kXmlCase).empty())
      << "an end without a result is what the test printed";
  ASSERT_EQ(reader_.running(), 0U);
  const auto record = reader_.finish("it died");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->outcome, Outcome::kFailed);
  EXPECT_EQ(record->death, "it died");
  EXPECT_THAT(record->output, HasSubstr("printed\n"));
}

TEST_F(CaseReaderTest, AFeignedEndIsFoundOut) {
  reader_.feed(kXmlHead + kXmlCase + kXmlPassed + kXmlCaseEnd);
  EXPECT_EQ(reader_.doubt(), "");
  reader_.feed("      <Expression success=\"false\">\n");
  EXPECT_NE(reader_.doubt(), "");
}

TEST_F(CaseReaderTest, TotalsThatDoNotAgreeAreFoundOut) {
  reader_.feed(kXmlHead + kXmlCase + kXmlPassed + kXmlCaseEnd + xml_tail(1));
  EXPECT_NE(reader_.doubt(), "");
}

TEST_F(CaseReaderTest, TestsThatNobodyAskedForHaveNoRecord) {
  reader_.expect({1});
  EXPECT_TRUE(reader_
                  .feed(kXmlHead + kXmlCase + "      <OverallResult success=\"false\"/>\n" +
                        kXmlCaseEnd + xml_tail(1))
                  .empty());
  EXPECT_TRUE(reader_.completed());
  EXPECT_TRUE(reader_.accepts(1)) << "the other test's failure";
  EXPECT_FALSE(reader_.accepts(139));
  EXPECT_EQ(reader_.doubt(), "");
}

TEST_F(CaseReaderTest, VersionThreeSkips) {
  const auto records = reader_.feed("<Catch2TestRun name=\"x\">\n" + kXmlCase +
                                    "<Skip filename=\"f.cc\" line=\"4\">\n not here\n</Skip>\n"
                                    "<OverallResult success=\"true\" skips=\"1\"/>\n" +
                                    kXmlCaseEnd + "</Catch2TestRun>\n");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].outcome, Outcome::kSkipped);
  EXPECT_THAT(records[0].output,
              HasSubstr("f.cc:4: SKIPPED:\nexplicitly with message:\n  not here"));
  EXPECT_TRUE(reader_.accepts(4)) << "it says so when all were skipped";
  EXPECT_FALSE(reader_.accepts(2));
}

TEST_F(CaseReaderTest, TimesAndPlacesMayBeAnything) {
  const auto records =
      reader_.feed(kXmlHead + kXmlCase +
                   "<Failure filename=\"f.cc\" line=\"-1&#x7;\">\n ]]> &amp; \n</Failure>\n"
                   "<OverallResult success=\"false\" durationInSeconds=\"1e300\"/>\n" +
                   kXmlCaseEnd);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].time_ms, 0);
  ASSERT_EQ(records[0].failures.size(), 1U);
  EXPECT_THAT(records[0].failures[0].message, HasSubstr("&"));
}

// Whatever is cut out of, and put into, a good text: no crash, and no test that passed although it
// had no result.
TEST_F(CaseReaderTest, SectionsWithoutEndAreNotFollowed) {
  std::string text = kXmlHead + kXmlCase;
  for (int i = 0; i < 200'000; ++i) {
    text += "      <Section name=\"a\">\n";
  }
  const auto records = reader_.feed(text + kXmlPassed + kXmlCaseEnd + xml_tail(0));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_GT(records[0].began.time_since_epoch().count(), 0);
}

// Looking for the end of each element in all of the line would take hours.
TEST_F(CaseReaderTest, ALineOfManyElementsIsReadOnce) {
  std::string line;
  for (int i = 0; i < 300'000; ++i) {
    line += "<Section ";
  }
  line += ">x\n";
  const auto records = reader_.feed(kXmlHead + kXmlCase + line + kXmlPassed + kXmlCaseEnd);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].output, line);
}

TEST_F(CaseReaderTest, GarbageIsSurvived) {
  const std::string good = kXmlHead + kXmlCase + "<Section name=\"s\">\n<Info>\n text\n</Info>\n" +
                           "</Section>\n" + kXmlPassed + kXmlCaseEnd + xml_tail(0);
  std::mt19937 random(7);
  const DoctestFormat other;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (int change = 0; change < 6; ++change) {
      const std::size_t at = random() % text.size();
      const std::size_t from = random() % good.size();
      text.replace(at, random() % 20, good.substr(from, random() % 30));
      text[random() % text.size()] = static_cast<char>(random());
    }
    for (const CaseFormat* format : std::initializer_list<const CaseFormat*>{&format_, &other}) {
      CaseReader reader(*format, list_);
      reader.expect({0, 1});
      for (const TestRecord& record : reader.feed(text)) {
        EXPECT_LT(record.test, 2U);
        EXPECT_TRUE(record.outcome != Outcome::kPassed ||
                    text.find("success=\"true\"") != std::string::npos)
            << text;
      }
      reader.finish("died");
    }
  }
}

TEST(DoctestFormat, TellsThrowsAndWarnings) {
  TestList list;
  list.tests = {{.suite = "s", .name = "t", .file = "d.cc", .line = 1}};
  const DoctestFormat format;
  CaseReader reader(format, list);
  reader.expect({0});
  const auto records = reader.feed(
      "<doctest binary=\"d\">\n<TestSuite name=\"s\">\n"
      "<TestCase name=\"t\" filename=\"d.cc\" line=\"1\" may_fail=\"true\">\n"
      "<Expression success=\"false\" type=\"WARN\" filename=\"d.cc\" line=\"2\">\n"
      "<Original>\n 1 == 2\n</Original>\n</Expression>\n"
      "<Expression success=\"false\" type=\"CHECK_THROWS\" filename=\"d.cc\" line=\"3\">\n"
      "<Original>\n f()\n</Original>\n</Expression>\n"
      "<OverallResultsAsserts successes=\"0\" failures=\"1\" test_case_success=\"true\"/>\n"
      "</TestCase>\n");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_THAT(records[0].output, AllOf(HasSubstr("TEST SUITE: s\nTEST CASE:  t\n"),
                                       HasSubstr("d.cc:2: WARNING: WARN( 1 == 2 )"),
                                       HasSubstr("CHECK_THROWS( f() ) did NOT throw at all!")));
  EXPECT_EQ(records[0].outcome, Outcome::kPassed);
  EXPECT_TRUE(records[0].expected_failure);
}

}  // namespace
}  // namespace spore::gtest_runner
