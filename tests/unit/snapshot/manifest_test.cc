#include "snapshot/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "unit/snapshot/sample.h"

namespace spore::snapshot {
namespace {

using test::sample_manifest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string changed(const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json json = sample_manifest();
  change(json);
  return json.dump();
}

Error refusal(const std::string& text) {
  const auto parsed = parse_manifest(text, "the manifest");
  EXPECT_FALSE(parsed) << text;
  return parsed ? Error(ErrorCode::kInternal, "it was taken") : parsed.error();
}

void expect_corrupt(const std::function<void(nlohmann::json&)>& change, const char* why) {
  const Error error = refusal(changed(change));
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << error.message();
  EXPECT_THAT(error.message(), HasSubstr("the manifest"));
  EXPECT_THAT(error.message(), HasSubstr(why));
}

TEST(ManifestTest, ComesBackWithEverythingInIt) {
  Manifest manifest = sample_manifest();
  manifest.parent = std::string(64, '1');
  manifest.fork = ForkParameters{2, 4, 1, 2, "name", "host", {{"a", "b"}}};
  manifest.images = {{std::string(64, '2'), 4096, "/images/one"}, {std::string(64, '3'), 1, ""}};
  const std::string text = to_document(manifest);
  const auto parsed = parse_manifest(text, "it");
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(to_document(*parsed), text);
  EXPECT_EQ(parsed->parent, manifest.parent);
  ASSERT_TRUE(parsed->fork);
  EXPECT_EQ(parsed->fork->child_index, 2U);
  EXPECT_EQ(parsed->fork->user, manifest.fork->user);
  EXPECT_EQ(parsed->images, manifest.images);
  EXPECT_EQ(parsed->platform, manifest.platform);
  EXPECT_EQ(parsed->sections, manifest.sections);
  EXPECT_EQ(parsed->annotations, manifest.annotations);
  EXPECT_EQ(parsed->generation.id, manifest.generation.id);
  EXPECT_EQ(parsed->created, manifest.created);
}

TEST(ManifestTest, OtherVersionsAreRefusedWithTheirNumber) {
  for (const nlohmann::json& version :
       {nlohmann::json(0), nlohmann::json(2), nlohmann::json(18446744073709551615U),
        nlohmann::json("1"), nlohmann::json(-1), nlohmann::json(), nlohmann::json(true),
        nlohmann::json::array({1})}) {
    const Error error = refusal(changed([&](auto& json) { json["version"] = version; }));
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(error.message(), HasSubstr("format version " + version.dump() + ", this program"));
  }
  // Whatever else there is in that version.
  const Error error = refusal(R"({"format":"spore","version":2})");
  EXPECT_THAT(error.message(), HasSubstr("format version 2"));
  EXPECT_EQ(refusal(changed([](auto& json) { json.erase("version"); })).code(),
            ErrorCode::kUnavailable);
}

TEST(ManifestTest, AVersionOfAnyLengthIsRefusedInFewWords) {
  const Error error =
      refusal(changed([](auto& json) { json["version"] = std::string(100'000, 'x'); }));
  EXPECT_LT(error.message().size(), 1000U);
}

TEST(ManifestTest, OtherDocumentsAreNoManifests) {
  for (const auto* text : {"{}", "[]", "null", "1", R"({"format":"spores","version":1})",
                           R"({"format":1,"version":1})", R"({"version":1})"}) {
    const Error error = refusal(text);
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << text;
    EXPECT_THAT(error.message(), HasSubstr("it is no spore's manifest"));
  }
  EXPECT_EQ(refusal("").code(), ErrorCode::kCorrupt);
}

TEST(ManifestTest, WithoutOneOfItsKeysItIsRefused) {
  const nlohmann::json whole = sample_manifest();
  for (const auto& [key, value] : whole.items()) {
    SCOPED_TRACE(key);
    EXPECT_FALSE(parse_manifest(changed([&](auto& json) { json.erase(key); }), "it"));
    EXPECT_FALSE(parse_manifest(
        changed([&](auto& json) { json[key] = nlohmann::json::array({{}}); }), "it"));
  }
  for (const auto& [key, value] : whole["platform"].items()) {
    SCOPED_TRACE(key);
    EXPECT_FALSE(parse_manifest(changed([&](auto& json) { json["platform"].erase(key); }), "it"));
  }
}

TEST(ManifestTest, WhatNamesAFileIsADigest) {
  for (const std::string& bad :
       {std::string("../../etc/passwd"), std::string(63, 'a'), std::string(64, 'A'),
        std::string(64, '/'), std::string(63, 'a') + '\0', std::string(65, 'a')}) {
    SCOPED_TRACE(bad);
    expect_corrupt([&](auto& json) { json["parent"] = bad; }, "the parent is named by no SHA-256");
    expect_corrupt([&](auto& json) { json["platform"]["kernel_sha256"] = bad; }, "the kernel");
    expect_corrupt(
        [&](auto& json) {
          json["images"] = {{{"sha256", bad}, {"bytes", 1}, {"name", "x"}}};
        },
        "an image");
    expect_corrupt([&](auto& json) { json["sections"]["vm"]["sha256"] = bad; }, "section vm");
    expect_corrupt(
        [&](auto& json) {
          json["sections"]["other"] = {{"sha256", bad}, {"bytes", 1}};
        },
        "section other");
  }
  expect_corrupt([](auto& json) { json["platform"]["kernel_sha256"] = ""; }, "the kernel");
}

TEST(ManifestTest, EverySectionIsThereAndBounded) {
  for (const auto name : {kVmSection, kAgentSection, kRamSection}) {
    expect_corrupt([&](auto& json) { json["sections"].erase(std::string(name)); }, "no section");
    expect_corrupt(
        [&](auto& json) { json["sections"][std::string(name)]["bytes"] = kMaxSectionBytes + 1; },
        "at most");
    EXPECT_TRUE(parse_manifest(changed([&](auto& json) {
                                 json["sections"][std::string(name)]["bytes"] = kMaxSectionBytes;
                               }),
                               "it"));
  }
  expect_corrupt([](auto& json) { json["sections"]["vm"]["bytes"] = -1; }, "");
}

TEST(ManifestTest, ThereAreBoundsToEverything) {
  const nlohmann::json image = {{"sha256", std::string(64, 'a')}, {"bytes", 1}, {"name", "x"}};
  expect_corrupt([&](auto& json) { json["images"] = std::vector(17, image); }, "more images");
  EXPECT_TRUE(
      parse_manifest(changed([&](auto& json) { json["images"] = std::vector(16, image); }), "it"));
  expect_corrupt(
      [](auto& json) {
        for (int i = 0; i < 1024; ++i) {
          json["annotations"][std::to_string(i)] = "";
        }
      },
      "more images or annotations");
  expect_corrupt(
      [](auto& json) {
        json["platform"]["cpu_features"] = {"sse3", "avx"};
      },
      "not in order");
  expect_corrupt([](auto& json) { json["created"] = -1; }, "");
  expect_corrupt([](auto& json) { json["platform"]["cpus"] = 4294967296U; }, "");
  expect_corrupt([](auto& json) { json["generation"]["parameters"]["child_index"] = -1; }, "");
}

TEST(ManifestTest, AHostLikeItsOwnDoesNotDiffer) {
  const Platform platform = sample_manifest().platform;
  EXPECT_THAT(differences(platform, platform, false), IsEmpty());
}

TEST(ManifestTest, EveryDifferenceIsNamedOnce) {
  const Platform wanted = sample_manifest().platform;
  const auto difference = [&](const std::function<void(Platform&)>& change) {
    Platform offered = wanted;
    change(offered);
    return differences(wanted, offered, false);
  };
  EXPECT_THAT(difference([](Platform& p) { p.architecture = "aarch64"; }),
              ElementsAre("architecture x86_64 (here: aarch64)"));
  EXPECT_THAT(difference([](Platform& p) { p.board = 2; }),
              ElementsAre("board version 1 (here: 2)"));
  EXPECT_THAT(difference([](Platform& p) { p.backend = "hvf"; }),
              ElementsAre("backend kvm (here: hvf)"));
  EXPECT_THAT(difference([](Platform& p) { p.cpu_vendor = "Other"; }),
              ElementsAre("CPU vendor FakeVendor (here: Other)"));
  EXPECT_THAT(difference([](Platform& p) { p.clock = "tsc"; }),
              ElementsAre("clock kvm-clock (here: tsc)"));
  EXPECT_THAT(difference([](Platform& p) { p.cpu_features = {"avx"}; }),
              ElementsAre("CPU feature sse3 (not here)"));
  EXPECT_THAT(difference([](Platform& p) { p.cpu_features = {}; }),
              ElementsAre("CPU feature avx (not here)", "CPU feature sse3 (not here)"));
  EXPECT_THAT(difference([](Platform& p) { p.tsc_khz = 3'000'000; }),
              ElementsAre("TSC frequency in kHz 2000000 (here: 3000000)"));
  EXPECT_THAT(difference([](Platform& p) { p.kernel_sha256 = std::string(64, 'e'); }),
              ElementsAre(HasSubstr("kernel ccc")));
  // All at once.
  EXPECT_EQ(differences(wanted, Platform{}, false).size(), 8U);
}

TEST(ManifestTest, MoreThanIsNeededIsNoDifference) {
  const Platform wanted = sample_manifest().platform;
  Platform offered = wanted;
  offered.cpu_features = {"aes", "avx", "avx2", "sse3", "zzz"};
  offered.kernel_sha256 = "";  // the caller does not ask
  offered.memory_bytes = 1;    // what is built
  offered.cpus = 64;
  EXPECT_THAT(differences(wanted, offered, false), IsEmpty());
}

TEST(ManifestTest, TheFrequencyMayBe250PartsPerMillionOff) {
  Platform wanted = sample_manifest().platform;
  Platform offered = wanted;
  for (const auto& [khz, differs] : {std::pair{2'000'500U, false},
                                     {2'000'501U, true},
                                     {1'999'500U, false},
                                     {1'999'499U, true},
                                     {0U, true},
                                     {4'294'967'295U, true}}) {
    offered.tsc_khz = khz;
    EXPECT_EQ(differences(wanted, offered, false).size(), differs ? 1U : 0U) << khz;
    EXPECT_THAT(differences(wanted, offered, /*can_scale=*/true), IsEmpty());
  }
  wanted.tsc_khz = 4'294'967'295U;
  offered.tsc_khz = wanted.tsc_khz;
  EXPECT_THAT(differences(wanted, offered, false), IsEmpty());
  wanted.tsc_khz = 0;
  EXPECT_EQ(differences(wanted, offered, false).size(), 1U);
}

}  // namespace
}  // namespace spore::snapshot
