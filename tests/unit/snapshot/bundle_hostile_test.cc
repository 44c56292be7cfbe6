// Bundles that somebody made who means no good.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "spore/disk.h"
#include "unit/snapshot/bundle_sample.h"
#include "unit/snapshot/disk_sample.h"

namespace spore::snapshot::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HostileBundle : public ::testing::Test {
 protected:
  void SetUp() override {
    write_all(inputs_.path("root.squashfs"), "an image");
    write_sample(inputs_.path("a"),
                 {.pages = {{1, 1}, {600, 2}}, .images = {inputs_.path("root.squashfs")}});
    entries_ = entries_of(pack({inputs_.path("a")}));
    ASSERT_EQ(bundle_of(entries_), pack({inputs_.path("a")}));
  }

  // Refused, and nothing is left. The Error's message.
  std::string refused(std::string_view bytes) {
    const auto unpacked = unpack_bundle(source_of(bytes), work_.path("out"));
    EXPECT_THAT(names_in(work_.path()), IsEmpty());
    if (unpacked) {
      ADD_FAILURE() << "it was taken";
      return {};
    }
    EXPECT_EQ(unpacked.error().code(), ErrorCode::kCorrupt) << unpacked.error().message();
    return unpacked.error().message();
  }
  std::string refused() { return refused(bundle_of(entries_)); }

  std::size_t index_of(std::string_view part) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (std::string_view(entries_[i].header.c_str()).find(part) != std::string_view::npos) {
        return i;
      }
    }
    ADD_FAILURE() << part;
    return 0;
  }

  // The file of document and archive gets this content, with all digests of files right.
  void replace_content(std::string_view part, const std::string& content) {
    Entry& changed = entries_[index_of(part)];
    const std::string name = changed.header.c_str();
    changed = entry(name, content);
    auto document = document_of(entries_);
    for (auto& file : document["files"]) {
      if (file["name"] == name) {
        file["sha256"] = base::sha256_of(content);
        file["bytes"] = content.size();
      }
    }
    set_document(entries_, document);
  }

  TemporaryFolder inputs_;
  TemporaryFolder work_;
  std::vector<Entry> entries_;
};

TEST_F(HostileBundle, EveryByteFlipped) {
  std::string bytes = bundle_of(entries_);
  // Of blocks that are all zeros or text one bit tells as much as another: take turns.
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char was = bytes[i];
    bytes[i] = static_cast<char>(was ^ (1 << i % 8));
    const auto unpacked = unpack_bundle(source_of(bytes), work_.path("out"));
    ASSERT_FALSE(unpacked) << "byte " << i;
    ASSERT_EQ(unpacked.error().code(), ErrorCode::kCorrupt) << unpacked.error().message();
    bytes[i] = was;
  }
  EXPECT_THAT(names_in(work_.path()), IsEmpty());
}

TEST_F(HostileBundle, Truncated) {
  const std::string bytes = bundle_of(entries_);
  for (std::size_t block = 0; block < bytes.size(); block += kTarBlockBytes) {
    for (const std::size_t size : {block, block + 1, block + 100, block + kTarBlockBytes - 1}) {
      EXPECT_THAT(refused(std::string_view(bytes).substr(0, size)), HasSubstr("ends too early"))
          << size;
    }
  }
  refused(bytes + '\0');
  refused(bytes + bytes);
}

TEST_F(HostileBundle, NoBundleAtAll) {
  refused("");
  refused(std::string(kTarBlockBytes, '\0'));
  refused(std::string(1 << 20, 'x'));
  refused(tar_header("bundle.json", kMaxBundleDocumentBytes + 1));
  refused(tar_header("bundle.json", ~std::uint64_t{0}));
  refused(bundle_of({entry("bundle.json", "")}));
  refused(bundle_of({entry("bundle.json", std::string(100'000, '['))}));
  refused(bundle_of({entry("bundle.json", "{}")}));
  refused(bundle_of({entry("manifest.json", entries_[index_of("manifest.json")].content)}));
  entries_.erase(entries_.begin());
  refused();
}

TEST_F(HostileBundle, NamesThatLeadElsewhere) {
  const std::vector<Entry> good = entries_;
  for (const char* name :
       {"../evil", "/etc/evil", "..", ".", "chunks/../../evil", "chunks//x", "./manifest.json",
        "manifest.json/", "sections/../manifest.json", "evil", "parents/evil/manifest.json",
        "ram.img", "ram.proof", "working-set.json", "parent"}) {
    // In the archive, and in bundle.json.
    for (const bool listed : {false, true}) {
      entries_ = good;
      const std::size_t at = index_of("manifest.sha256");
      entries_[at] = entry(name, entries_[at].content);
      if (listed) {
        auto document = document_of(entries_);
        std::vector<nlohmann::json> files = document["files"];
        for (auto& file : files) {
          if (file["name"] == "manifest.sha256") {
            file["name"] = name;
          }
        }
        std::sort(files.begin(), files.end(),
                  [](const auto& left, const auto& right) { return left["name"] < right["name"]; });
        document["files"] = files;
        set_document(entries_, document);
      }
      refused();
    }
  }
}

TEST_F(HostileBundle, SporesThatLeadElsewhere) {
  for (const char* name : {"..", "../x", "/x", "", "x/y", "a", "parents", "parents/x", "x\\y", "\n",
                           "chunks", ".hidden"}) {
    auto document = document_of(entries_);
    document["spores"][0]["name"] = name;
    std::vector<Entry> changed = entries_;
    set_document(changed, document);
    refused(bundle_of(changed));
  }
}

TEST_F(HostileBundle, LinksDevicesAndExtensions) {
  const std::vector<Entry> good = entries_;
  for (const std::size_t at : {std::size_t{0}, index_of("chunks/"), index_of("manifest.json")}) {
    for (const char type : std::string("\0"
                                       "1234567xgLKSDNV",
                                       16)) {
      entries_ = good;
      entries_[at].header = patched_header(entries_[at].header, 156, std::string(1, type));
      refused();
      entries_[at].header = patched_header(entries_[at].header, 157, "/etc/passwd");  // its link
      refused();
    }
    for (const auto& [offset, text] :
         {std::pair{100, "0004755"}, std::pair{108, "0000001"}, std::pair{136, "00000000001"},
          std::pair{265, "root"}, std::pair{345, ".."}, std::pair{124, "77777777777"}}) {
      entries_ = good;
      entries_[at].header =
          patched_header(entries_[at].header, static_cast<std::size_t>(offset), text);
      refused();
    }
  }
}

TEST_F(HostileBundle, FilesThatAreNotAsListed) {
  const std::vector<Entry> good = entries_;
  entries_.insert(entries_.begin() + 1, entries_[1]);  // twice
  refused();
  entries_ = good;
  entries_.erase(entries_.begin() + 2);  // missing
  refused();
  entries_ = good;
  entries_.pop_back();
  refused();
  entries_ = good;
  std::swap(entries_[1], entries_[2]);  // another order
  refused();
  entries_ = good;
  entries_.push_back(entry("sections/x", "more"));  // not listed
  refused();
  entries_ = good;
  Entry& longer = entries_[index_of("sections/")];  // larger than it says
  longer.content += 'x';
  refused();
}

TEST_F(HostileBundle, DocumentsThatMakeNoSense) {
  const auto good = document_of(entries_);
  const std::vector<std::pair<const char*, nlohmann::json>> changes = {
      {"/version", 2},
      {"/version", "1"},
      {"/format", "spore"},
      {"/more", 1},
      {"/files", nlohmann::json::array()},
      {"/files", 7},
      {"/spores", nlohmann::json::array()},
      {"/spores/0/id", std::string(64, '0')},
      {"/spores/0/id", "x"},
      {"/spores/0/parent", std::string(64, '0')},
      {"/spores/0/parent", good["spores"][0]["id"]},
      {"/spores/1", good["spores"][0]},
      {"/files/0/bytes", std::uint64_t{1} << 40},
      {"/files/0/bytes", -1},
      {"/files/0/bytes", 0},
      {"/files/0/sha256", std::string(64, '0')},
      {"/files/0/sha256", ""},
      {"/files/1", good["files"][0]},
  };
  for (const auto& [pointer, value] : changes) {
    auto document = good;
    document[nlohmann::json::json_pointer(pointer)] = value;
    std::vector<Entry> changed = entries_;
    set_document(changed, document);
    refused(bundle_of(changed));
  }
  std::vector<Entry> spaced = entries_;
  spaced.front() = entry(kBundleFile, good.dump(1));
  refused(bundle_of(spaced));
}

TEST_F(HostileBundle, AHugeCountIsRefusedByItsSize) {
  auto document = document_of(entries_);
  const auto file = document["files"][0];
  std::vector<nlohmann::json> files(60'000, file);
  document["files"] = files;
  set_document(entries_, document);
  ASSERT_LT(entries_.front().content.size(), kMaxBundleDocumentBytes);
  refused();
}

TEST_F(HostileBundle, ChunksWithOtherContent) {
  const std::vector<Entry> good = entries_;
  // Another chunk's file; a file that is no chunk; one that unpacks to much more than 2 MiB.
  const std::string bomb_folder = inputs_.path("bomb");
  std::string bomb = entries_[index_of("chunks/")].content;
  for (const std::string& content :
       {entries_[index_of("chunks/") + 1].content, std::string("no chunk"), std::string(),
        bomb.substr(0, bomb.size() - 1), bomb + bomb}) {
    entries_ = good;
    replace_content("chunks/", content);
    refused();
  }
  // A Zstandard frame of 1 GiB of zeros: a header without a size, and runs of 128 KiB.
  std::string frame("\x28\xb5\x2f\xfd\x00\x58", 6);
  for (int i = 0; i < 8192; ++i) {
    const unsigned block = (i == 8191 ? 1U : 0U) | 1U << 1 | (128U * 1024) << 3;
    frame += static_cast<char>(block & 0xff);
    frame += static_cast<char>(block >> 8 & 0xff);
    frame += static_cast<char>(block >> 16 & 0xff);
    frame += '\0';
  }
  entries_ = good;
  replace_content("chunks/", frame);
  refused();
  entries_ = good;
  replace_content("chunks/", std::string(kChunkBytes * 2, 'x'));  // more than a chunk's file has
  refused();
}

TEST_F(HostileBundle, SectionsAndManifestsWithOtherContent) {
  const std::vector<Entry> good = entries_;
  for (const char* part : {"sections/", "manifest.json", "manifest.sha256", "images/"}) {
    for (const std::string& content :
         {std::string("{}"), std::string(), good[index_of(part)].content + " "}) {
      entries_ = good;
      replace_content(part, content);
      refused();
    }
  }
}

TEST_F(HostileBundle, FilesThatNoSporeNeeds) {
  // Named, listed and hashed as they should be; but pack does not write them.
  for (const std::string& name :
       {"chunks/" + std::string(64, '0') + ".zst", "sections/" + base::sha256_of("x") + ".json",
        "images/" + base::sha256_of("x")}) {
    std::vector<Entry> changed = entries_;
    auto document = document_of(changed);
    std::vector<nlohmann::json> files = document["files"];
    const nlohmann::json extra = {{"name", name}, {"sha256", base::sha256_of("x")}, {"bytes", 1}};
    const auto place = std::find_if(files.begin(), files.end(), [&](const auto& file) {
      return file["name"].template get<std::string>() > name;
    });
    changed.insert(changed.begin() + 1 + (place - files.begin()), entry(name, "x"));
    files.insert(place, extra);
    document["files"] = files;
    set_document(changed, document);
    EXPECT_THAT(refused(bundle_of(changed)), HasSubstr("not those that its spores need"));
  }
}

TEST_F(HostileBundle, AParentElsewhere) {
  const std::string base = write_sample(inputs_.path("base"));
  write_sample(inputs_.path("layer"), {.pages = {{3, 3}}, .parent = base});
  entries_ = entries_of(pack({inputs_.path("layer")}));
  replace_content("parent", inputs_.path("base"));
  refused();
  // A spore whose parent is said to be none.
  entries_ = entries_of(pack({inputs_.path("layer")}));
  auto document = document_of(entries_);
  document["spores"][0]["parent"] = "";
  set_document(entries_, document);
  refused();
}

TEST_F(HostileBundle, AnotherDigestThanWanted) {
  const std::string bytes = bundle_of(entries_);
  const auto other =
      unpack_bundle(source_of(bytes), work_.path("out"), {.digest = std::string(64, '0')});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::kCorrupt);
  const auto none = unpack_bundle(source_of(bytes), work_.path("out"), {.digest = "abc"});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(names_in(work_.path()), IsEmpty());
}

TEST_F(HostileBundle, NeverTakesThePlaceOfSomething) {
  fs::create_directory(work_.path("out"));
  const auto unpacked = unpack_bundle(source_of(bundle_of(entries_)), work_.path("out"));
  ASSERT_FALSE(unpacked);
  EXPECT_EQ(unpacked.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(names_in(work_.path()), ElementsAre("out"));
}

TEST_F(HostileBundle, AKilledUnpackLeavesOnlyWhatGcFinds) {
  const std::string bytes = bundle_of(entries_);
  std::array<int, 2> halfway{};
  ASSERT_EQ(::pipe(halfway.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::size_t left = bytes.size() * 2 / 3;
    auto source = source_of(bytes, 512);
    static_cast<void>(unpack_bundle(
        [&](std::span<char> into) -> Result<std::size_t> {
          if (left < 512) {
            static_cast<void>(::write(halfway[1], "x", 1));
            ::pause();
          }
          left -= 512;
          return source(into);
        },
        work_.path("out")));
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(halfway[0], &byte, 1), 1);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  ::close(halfway[0]);
  ::close(halfway[1]);
  const auto left = names_in(work_.path());
  ASSERT_EQ(left.size(), 1U);
  EXPECT_FALSE(fs::exists(work_.path("out")));
  const auto garbage = collect_garbage(work_.path(), {.dry_run = false, .all = true});
  ASSERT_TRUE(garbage) << garbage.error().message();
  ASSERT_EQ(garbage->items.size(), 1U);
  EXPECT_EQ(garbage->items[0].kind, "staging");
  EXPECT_EQ(garbage->items[0].path, work_.path(left[0]));
  EXPECT_THAT(names_in(work_.path()), IsEmpty());
  ASSERT_TRUE(unpack_bundle(source_of(bytes), work_.path("out")));
}

}  // namespace
}  // namespace spore::snapshot::test
