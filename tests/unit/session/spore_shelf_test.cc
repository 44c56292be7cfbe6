// Saving and loading, through the shelf that does it for a LocalHost.
#include "session/spore_shelf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "snapshot/document.h"
#include "support/fake_hypervisor.h"
#include "unit/image/samples.h"
#include "unit/session/shelf_sample.h"

namespace spore::session {
namespace {

namespace fs = std::filesystem;
using snapshot::SporeDirectory;
using test::make_layer;
using test::make_ram;
using test::page_of;
using test::Pages;
using test::pages_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

const Pages kSomePages = {{0, page_of(1)}, {1, page_of(2)}, {600, page_of(3)}, {16383, page_of(4)}};

class SporeShelfTest : public ::testing::Test {
 protected:
  SporeShelfTest() { ::setenv("SPORE_CACHE_DIR", path("cache").c_str(), 1); }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_.path(name); }
  SavedSpore save(const CapturedMachine& machine, const std::string& name) {
    auto saved = try_save(machine, name);
    EXPECT_TRUE(saved) << saved.error().message();
    return saved ? *saved : SavedSpore{};
  }
  Result<SavedSpore> try_save(const CapturedMachine& machine, const std::string& name) {
    return shelf_.save(machine, {path(name), "{\"agent\":true}", options_},
                       hypervisor_.platform().value());
  }
  // By another process, as it were.
  Result<SporeShelf::Loaded> try_load(const std::string& name, const LoadOptions& options = {}) {
    SporeShelf other;
    return other.load(path(name), options, hypervisor_.platform().value());
  }
  SporeShelf::Loaded load(const std::string& name) {
    auto loaded = try_load(name);
    EXPECT_TRUE(loaded) << loaded.error().message();
    return loaded ? *loaded : SporeShelf::Loaded{};
  }
  Pages loaded_pages(const std::string& name) {
    const auto loaded = load(name);
    return loaded.machine.capture ? pages_of(*loaded.machine.capture->ram) : Pages{};
  }
  Error refusal(const std::string& name, const LoadOptions& options = {}) {
    const auto loaded = try_load(name, options);
    EXPECT_FALSE(loaded);
    return loaded ? Error(ErrorCode::kInternal, "it was loaded") : loaded.error();
  }

  snapshot::test::TemporaryDirectory directory_;
  testing::FakeHypervisor hypervisor_;
  SporeShelf shelf_;
  SaveOptions options_;
};

TEST_F(SporeShelfTest, WhatIsSavedIsLoaded) {
  const std::vector<std::string> images = {directory_.write("one", std::string(1024, '1')),
                                           directory_.write("two", std::string(512, '2'))};
  const auto machine = test::machine(make_ram(kSomePages), images);
  options_.annotations = {{"why", "because"}};
  const SavedSpore saved = save(machine, "a");
  EXPECT_EQ(saved.path, path("a"));
  EXPECT_EQ(saved.parent, "");
  EXPECT_EQ(saved.memory_bytes, test::kMemory);
  EXPECT_EQ(saved.content_bytes, kSomePages.size() * memory::kPageSize);
  EXPECT_EQ(saved.chunks, 3U);

  const auto loaded = load("a");
  const vm::Capture& before = *machine.capture;
  const vm::Capture& after = *loaded.machine.capture;
  EXPECT_TRUE(after.state == before.state);
  EXPECT_EQ(snapshot::to_document(after.generation.parameters.user),
            snapshot::to_document(before.generation.parameters.user));
  EXPECT_EQ(after.generation.id, before.generation.id);
  EXPECT_EQ(after.generation.number, before.generation.number);
  EXPECT_EQ(after.generation.parent_id, before.generation.parent_id);
  EXPECT_EQ(after.config.memory_bytes, before.config.memory_bytes);
  EXPECT_EQ(after.config.cpus, before.config.cpus);
  EXPECT_EQ(after.config.images, before.config.images);
  EXPECT_EQ(after.disks.size(), 2U);
  EXPECT_EQ(after.ram->size(), before.ram->size());
  EXPECT_TRUE(pages_of(*after.ram) == kSomePages);
  EXPECT_EQ(loaded.agent_section, "{\"agent\":true}");
  EXPECT_EQ(loaded.machine.kernel.sha256, machine.kernel.sha256);
  EXPECT_EQ(loaded.spore.id, saved.id);
  EXPECT_EQ(loaded.spore.annotations, options_.annotations);
  EXPECT_EQ(loaded.spore.cpus, 2U);
  EXPECT_FALSE(loaded.spore.fork);
}

TEST_F(SporeShelfTest, WhatIsLoadedCanBeForked) {
  save(test::machine(make_ram(kSomePages)), "a");
  const auto capture = load("a").machine.capture;
  class Nobody final : public vm::VmObserver {
    void on_agent_bytes(std::string_view) override {}
    void on_captured(const CaptureTimings&) override {}
    void on_ended(const MachineEnd&) override {}
  };
  auto shell = vm::Shell::for_forks(hypervisor_, capture->shape(), capture->ram);
  ASSERT_TRUE(shell) << shell.error().message();
  Generation child = test::generation();
  child.number = 3;
  ForkTimings timings;
  const auto machine =
      vm::Vm::fork(std::move(*shell), capture, child, std::make_shared<Nobody>(), timings);
  ASSERT_TRUE(machine) << machine.error().message();
  EXPECT_EQ((*machine)->stats()->memory_bytes, test::kMemory);
}

TEST_F(SporeShelfTest, PagesOfZerosAreNotStored) {
  Pages pages = kSomePages;
  pages[5] = test::Page(memory::kPageSize);
  const SavedSpore saved = save(test::machine(make_ram(pages)), "a");
  EXPECT_EQ(saved.content_bytes, kSomePages.size() * memory::kPageSize);
  EXPECT_TRUE(loaded_pages("a") == kSomePages);
}

TEST_F(SporeShelfTest, ALayerIsSavedOnItsParentWithItsOwnPagesOnly) {
  const auto base = make_ram(kSomePages);
  const SavedSpore a = save(test::machine(base), "a");
  // One page is new, one has changed, one became zero.
  const Pages changes = {{1, page_of(10)}, {2, page_of(11)}, {600, test::Page(memory::kPageSize)}};
  const auto layer = make_layer(base, changes);
  const SavedSpore b = save(test::machine(layer), "b");
  EXPECT_EQ(b.parent, a.id);
  EXPECT_EQ(b.content_bytes, 3 * memory::kPageSize);
  // And a layer on the layer.
  const SavedSpore c = save(test::machine(make_layer(layer, {{9000, page_of(12)}})), "c");
  EXPECT_EQ(c.parent, b.id);
  EXPECT_EQ(c.content_bytes, memory::kPageSize);

  const auto spore = SporeDirectory::open(path("b")).value();
  EXPECT_EQ(spore->parent()->id(), a.id);
  EXPECT_EQ(spore->ram_section()->base, spore->parent()->manifest().sections.at("ram").sha256);
  Pages expected = kSomePages;
  expected[1] = page_of(10);
  expected[2] = page_of(11);
  expected.erase(600);
  EXPECT_TRUE(loaded_pages("b") == expected);
  expected[9000] = page_of(12);
  EXPECT_TRUE(loaded_pages("c") == expected);
  EXPECT_TRUE(loaded_pages("a") == kSomePages);
}

TEST_F(SporeShelfTest, ALayerWhoseParentWasNeverSavedIsWhole) {
  const auto layer = make_layer(make_ram(kSomePages), {{7, page_of(9)}});
  const SavedSpore saved = save(test::machine(layer), "a");
  EXPECT_EQ(saved.parent, "");
  EXPECT_EQ(saved.content_bytes, (kSomePages.size() + 1) * memory::kPageSize);
  Pages expected = kSomePages;
  expected[7] = page_of(9);
  EXPECT_TRUE(loaded_pages("a") == expected);
}

TEST_F(SporeShelfTest, WhatWasLoadedIsTheParentOfWhatGoesOnFromIt) {
  const SavedSpore a = save(test::machine(make_ram(kSomePages)), "a");
  const auto loaded = shelf_.load(path("a"), {}, hypervisor_.platform().value());
  ASSERT_TRUE(loaded);
  const auto layer = make_layer(loaded->machine.capture->ram, {{3, page_of(5)}});
  const SavedSpore b = save(test::machine(layer), "b");
  EXPECT_EQ(b.parent, a.id);
  EXPECT_EQ(b.content_bytes, memory::kPageSize);
  const auto again = shelf_.load(path("b"), {}, hypervisor_.platform().value());
  ASSERT_TRUE(again) << again.error().message();
  const SavedSpore c =
      save(test::machine(make_layer(again->machine.capture->ram, {{4, page_of(6)}})), "c");
  EXPECT_EQ(c.parent, b.id);
  Pages expected = kSomePages;
  expected[3] = page_of(5);
  expected[4] = page_of(6);
  EXPECT_TRUE(loaded_pages("c") == expected);
}

TEST_F(SporeShelfTest, TheSameRamIsStoredOnce) {
  const auto ram = make_ram(kSomePages);
  const SavedSpore a = save(test::machine(ram), "a");
  const SavedSpore b = save(test::machine(ram), "b");
  EXPECT_EQ(b.parent, a.id);
  EXPECT_EQ(b.content_bytes, 0U);
  EXPECT_EQ(snapshot::test::count_entries(path("b/chunks")), 0U);
  EXPECT_TRUE(loaded_pages("b") == kSomePages);
  // A third one is beside the second, not on top of it.
  EXPECT_EQ(save(test::machine(ram), "c").parent, a.id);
}

TEST_F(SporeShelfTest, WithoutItsParentASporeIsWhole) {
  const auto base = make_ram(kSomePages);
  const SavedSpore a = save(test::machine(base), "a");
  fs::remove_all(path("a"));
  const auto layer = make_layer(base, {{7, page_of(9)}});
  const SavedSpore b = save(test::machine(layer), "b");
  EXPECT_EQ(b.parent, "");
  EXPECT_TRUE(loaded_pages("b").contains(16383));
  // What is saved in its place is remembered instead.
  const SavedSpore again = save(test::machine(base), "again");
  EXPECT_EQ(again.parent, "");
  EXPECT_EQ(again.id.size(), 64U);
  EXPECT_EQ(save(test::machine(base), "once-more").parent, again.id);
}

TEST_F(SporeShelfTest, AnotherSporeInTheParentsPlaceIsNoParent) {
  const auto base = make_ram(kSomePages);
  save(test::machine(base), "a");
  fs::remove_all(path("a"));
  save(test::machine(make_ram({{1, page_of(99)}})), "a");
  const SavedSpore b = save(test::machine(make_layer(base, {{7, page_of(9)}})), "b");
  EXPECT_EQ(b.parent, "");
  EXPECT_TRUE(loaded_pages("b").contains(16383));
}

TEST_F(SporeShelfTest, HoweverLongTheLineOfCapturesAllCanBeLoaded) {
  auto ram = make_ram(kSomePages);
  save(test::machine(ram), "0");
  options_.flat = false;
  constexpr std::uint32_t kGenerations = 70;
  for (std::uint32_t i = 1; i <= kGenerations; ++i) {
    ram = make_layer(ram, {{100 + i, page_of(100 + i)}});
    save(test::machine(ram), std::to_string(i));
    ASSERT_TRUE(SporeDirectory::open(path(std::to_string(i)))) << i;
  }
  EXPECT_EQ(loaded_pages(std::to_string(kGenerations)).size(), kSomePages.size() + kGenerations);
}

TEST_F(SporeShelfTest, AnImageThatIsMissingOrChangedIsNamed) {
  const std::string image = directory_.write("image", std::string(1024, 'i'));
  save(test::machine(make_ram({}), {image}), "a");
  directory_.write("image", std::string(1024, 'j'));
  const Error changed = refusal("a");
  EXPECT_EQ(changed.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(changed.message(), AllOf(HasSubstr(image), HasSubstr("was changed")));
  fs::remove(image);
  const Error missing = refusal("a");
  EXPECT_EQ(missing.code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr(image));
  fs::create_directory(image);
  EXPECT_THAT(refusal("a").message(), HasSubstr(image));
  fs::remove(image);
  directory_.write("image", std::string(1024, 'i'));
  EXPECT_TRUE(try_load("a"));
}

TEST_F(SporeShelfTest, AnImageOutOfTheBundleIsAsGood) {
  const std::string image = directory_.write("image", std::string(1024, 'i'));
  save(test::machine(make_ram({}), {image}), "a");
  const auto ref = SporeDirectory::open(path("a")).value()->manifest().images.front();
  fs::create_directory(path("a/images"));
  fs::rename(image, path("a/images/") + ref.sha256);
  EXPECT_EQ(load("a").machine.capture->config.images.front(), path("a/images/") + ref.sha256);
}

TEST_F(SporeShelfTest, AnImageThatIsNoFileIsNotWaitedFor) {
  const std::string image = directory_.write("image", std::string(1024, 'i'));
  save(test::machine(make_ram({}), {image}), "a");
  nlohmann::json manifest = SporeDirectory::open(path("a")).value()->manifest();
  for (const auto* name : {"/dev/zero", "/dev/tty", "/", ""}) {
    manifest["images"][0]["name"] = name;
    snapshot::test::overwrite_manifest(path("a"), manifest.dump());
    EXPECT_THAT(refusal("a").message(), HasSubstr(name));
  }
}

TEST_F(SporeShelfTest, AHostThatDiffersIsToldInWhatAndHow) {
  save(test::machine(make_ram({})), "a");
  const vm::GuestPlatform same = hypervisor_.offered;
  const auto expect_difference = [&](const char* what) {
    const Error error = refusal("a");
    EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
    EXPECT_THAT(error.message(), AllOf(HasSubstr(path("a")), HasSubstr(what)));
    hypervisor_.offered = same;
  };
  hypervisor_.offered.backend = "other";
  expect_difference("backend fake (here: other)");
  hypervisor_.offered.cpu_vendor = "OtherVendor";
  expect_difference("CPU vendor FakeVendor (here: OtherVendor)");
  hypervisor_.offered.cpu_features = {"avx"};
  expect_difference("CPU feature sse3 (not here)");
  hypervisor_.offered.clock = "other-clock";
  expect_difference("clock fake-clock (here: other-clock)");
  hypervisor_.offered.tsc_khz = 1'000'251;
  expect_difference("TSC frequency in kHz 1000000 (here: 1000251)");
  hypervisor_.offered.tsc_khz = 3'000'000;
  hypervisor_.offered.scales_tsc = true;
  EXPECT_TRUE(try_load("a"));
  hypervisor_.offered = same;
  hypervisor_.offered.cpu_features = {"aes", "avx", "sse3"};
  EXPECT_TRUE(try_load("a"));
  hypervisor_.offered = same;

  nlohmann::json manifest = SporeDirectory::open(path("a")).value()->manifest();
  manifest["platform"]["architecture"] = "aarch64";
  manifest["platform"]["board"] = 7;
  snapshot::test::overwrite_manifest(path("a"), manifest.dump());
  const Error both = refusal("a");
  EXPECT_EQ(both.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(both.message(), AllOf(HasSubstr("architecture aarch64 (here: x86_64)"),
                                    HasSubstr("board version 7 (here: 1)")));
}

TEST_F(SporeShelfTest, TheKernelIsComparedIfOneIsNamed) {
  CapturedMachine machine = test::machine(make_ram({}));
  machine.kernel = {directory_.write("kernel", image::test::make_elf()), ""};
  save(machine, "a");
  EXPECT_TRUE(try_load("a"));
  EXPECT_TRUE(try_load("a", {.kernel = path("kernel")}));
  std::string other = image::test::make_elf();
  other.back() = 'x';
  directory_.write("other", other);
  const Error error = refusal("a", {.kernel = path("other")});
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("needs kernel "));
  EXPECT_EQ(refusal("a", {.kernel = path("none")}).code(), ErrorCode::kNotFound);
  machine.kernel.path = path("gone");
  EXPECT_EQ(try_save(machine, "b").error().code(), ErrorCode::kNotFound);
}

TEST_F(SporeShelfTest, WhatCannotBeSavedLeavesNothing) {
  const auto machine = test::machine(make_ram(kSomePages));
  options_.annotations = {{"bad", "\xff"}};
  EXPECT_FALSE(try_save(machine, "a"));
  EXPECT_FALSE(try_save(machine, "none/a"));
  options_ = {};
  save(machine, "a");
  EXPECT_THAT(try_save(machine, "a").error().message(), HasSubstr("there already"));
  EXPECT_EQ(snapshot::test::count_entries(directory_.path()), 2U);  // and the cache
}

}  // namespace
}  // namespace spore::session
