// Spores that somebody changed, with all digests made anew: loading answers with an Error that
// names what is wrong, or with a machine that is as the spore says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <array>

#include <filesystem>
#include <functional>
#include <string>

#include "snapshot/document.h"
#include "support/fake_hypervisor.h"
#include "unit/session/shelf_sample.h"

namespace spore::session {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using snapshot::SporeDirectory;
using snapshot::test::overwrite;
using snapshot::test::read_all;
using test::page_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

class HostileShelfTest : public ::testing::Test {
 protected:
  HostileShelfTest() {
    ::setenv("SPORE_CACHE_DIR", directory_.path("cache").c_str(), 1);
    const auto ram = test::make_ram({{0, page_of(1)}, {600, page_of(2)}});
    const SaveOrder order{spore_, "{}", {}};
    EXPECT_TRUE(shelf_.save(test::machine(ram), order, hypervisor_.offered));
    manifest_ = json::parse(read_all(spore_ + "/manifest.json"));
  }
  [[nodiscard]] json section(const std::string& name) const {
    const auto digest = manifest_["sections"][name]["sha256"].get<std::string>();
    return json::parse(read_all(spore_ + "/sections/" + digest + ".json"));
  }
  // Loads the spore with another section of that name.
  Result<SporeShelf::Loaded> load_with(const std::string& name, const std::string& bytes) {
    json manifest = manifest_;
    const std::string digest = base::sha256_of(bytes);
    manifest["sections"][name] = {{"sha256", digest}, {"bytes", bytes.size()}};
    overwrite(spore_ + "/sections/" + digest + ".json", bytes);
    snapshot::test::overwrite_manifest(spore_, manifest.dump());
    return load();
  }
  Result<SporeShelf::Loaded> load() {
    SporeShelf other;
    return other.load(spore_, {}, hypervisor_.offered);
  }
  void expect_corrupt(const std::string& name, const std::function<void(json&)>& change) {
    json changed = section(name);
    change(changed);
    const auto loaded = load_with(name, changed.dump());
    ASSERT_FALSE(loaded) << name;
    EXPECT_EQ(loaded.error().code(), ErrorCode::kCorrupt) << loaded.error().message();
    EXPECT_THAT(loaded.error().message(), HasSubstr("section " + name + " of " + spore_));
  }

  snapshot::test::TemporaryDirectory directory_;
  const std::string spore_ = directory_.path("spore");
  testing::FakeHypervisor hypervisor_;
  SporeShelf shelf_;
  json manifest_;
};

TEST_F(HostileShelfTest, AnotherNumberOfVcpusIsRefused) {
  expect_corrupt("vm", [](json& vm) { vm["cpus"].erase(1); });
  expect_corrupt("vm", [](json& vm) { vm["cpus"].push_back(vm["cpus"][0]); });
  expect_corrupt("vm", [](json& vm) { vm["cpus"] = json::array(); });
  expect_corrupt("vm", [](json& vm) { vm["cpus"] = nullptr; });
}

TEST_F(HostileShelfTest, FieldsOfOtherTypesAreRefused) {
  const auto cpu = [](json& vm) -> json& { return vm["cpus"][0]; };
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["gpr"].push_back(0); });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["gpr"].erase(0); });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["gpr"][0] = -1; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["rip"] = "0"; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["lapic"] = "0"; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["lapic"] = "zz"; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["xsave"] = json::array({1, 2}); });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["mp_state"] = "asleep"; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["cs"]["dpl"] = 256; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["cs"]["present"] = 1; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["msrs"][0]["index"] = 4294967296; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm)["more"] = 1; });
  expect_corrupt("vm", [&](json& vm) { cpu(vm).erase("tsc"); });
  expect_corrupt("vm", [&](json& vm) { vm["devices"]["slots"] = 9; });
  expect_corrupt("vm", [&](json& vm) { vm["devices"]["vsock"].erase("resets"); });
  expect_corrupt("vm", [&](json& vm) { vm["clock"] = nullptr; });
}

TEST_F(HostileShelfTest, SizesThatNoHostHasAreForTheBackendToRefuse) {
  // As far as the format goes, these are machines.
  for (const std::string& area : {std::string(), std::string(2, '0'), std::string(1 << 20, 'f')}) {
    json vm = section("vm");
    vm["cpus"][0]["lapic"] = area;
    vm["cpus"][1]["xsave"] = area;
    vm["cpus"][0]["msrs"] = json::array();
    const auto loaded = load_with("vm", vm.dump());
    ASSERT_TRUE(loaded) << loaded.error().message();
    const auto& cpus = loaded->machine.capture->state.cpus;
    EXPECT_EQ(cpus[0].lapic.size(), area.size() / 2);
    EXPECT_EQ(cpus[1].xsave.size(), area.size() / 2);
  }
}

TEST_F(HostileShelfTest, AMachineThatThisBoardCannotBeIsRefusedBeforeItIsMade) {
  const auto refused = [&](const char* key, std::uint64_t value) {
    json manifest = manifest_;
    manifest["platform"][key] = value;
    snapshot::test::overwrite_manifest(spore_, manifest.dump());
    const auto loaded = load();
    EXPECT_FALSE(loaded) << key << value;
  };
  for (const std::uint64_t memory :
       {0ULL, 1ULL, 4096ULL, 64ULL * kMiB + 4096, 128ULL * kMiB, 1ULL << 40, ~0ULL}) {
    refused("memory_bytes", memory);
  }
  for (const std::uint64_t cpus : {0U, 1U, 3U, 9U, 4294967295U}) {
    refused("cpus", cpus);
  }
}

TEST_F(HostileShelfTest, MoreImagesThanTheBoardTakesAreRefused) {
  const std::string image = directory_.write("image", std::string(512, 'i'));
  json manifest = manifest_;
  for (int i = 0; i < 7; ++i) {
    manifest["images"].push_back(
        {{"sha256", base::sha256_of(std::string(512, 'i'))}, {"bytes", 512}, {"name", image}});
  }
  snapshot::test::overwrite_manifest(spore_, manifest.dump());
  const auto loaded = load();
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error().message(), HasSubstr("at most 6 root images"));
}

// What touching RAM that was loaded lazily comes to: a page of each chunk.
Result<void> touch(const Result<SporeShelf::Loaded>& loaded) {
  if (!loaded) {
    return fail(loaded.error());
  }
  constexpr std::array<std::uint32_t, 2> kPages = {0, 600};
  return loaded->machine.capture->ram->ensure(kPages);
}

TEST_F(HostileShelfTest, RamThatIsNotAsItsSectionSaysIsRefused) {
  expect_corrupt("ram", [](json& ram) { ram["size"] = 1; });
  expect_corrupt("ram", [](json& ram) { ram["chunks"][0]["chunk"] = 32; });
  expect_corrupt("ram", [](json& ram) { std::swap(ram["chunks"][0], ram["chunks"][1]); });
  expect_corrupt("ram", [](json& ram) { ram["base"] = std::string(64, '0'); });
  // Content of another chunk under this one's place is what the section says; of another size not.
  json ram = section("ram");
  ram["chunks"][0]["pages"] = std::string(128, 'f');
  const auto more = touch(load_with("ram", ram.dump()));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(more.error().message(), HasSubstr("chunk 0 ("));
  ram = section("ram");
  ram["chunks"][1]["sha256"] = std::string(64, '0');
  const auto missing = touch(load_with("ram", ram.dump()));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("chunk 1 ("));
}

TEST_F(HostileShelfTest, AFlippedChunkIsNamed) {
  const json ram = section("ram");
  const auto digest = ram["chunks"][1]["sha256"].get<std::string>();
  const std::string file = spore_ + "/chunks/" + digest + ".zst";
  std::string bytes = read_all(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
  overwrite(file, bytes);
  // The flat backing, if it is used, is another copy that has proof.
  SporeShelf other;
  const auto touched = touch(other.load(spore_, {.flat = false}, hypervisor_.offered));
  ASSERT_FALSE(touched);
  EXPECT_EQ(touched.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(touched.error().message(), AllOf(HasSubstr("chunk 1 (" + digest), HasSubstr(file)));
}

TEST_F(HostileShelfTest, AFlatBackingWithoutProofIsNotUsed) {
  const auto expect_right = [&] {
    const auto loaded = load();
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_TRUE(test::pages_of(*loaded->machine.capture->ram) ==
                (test::Pages{{0, page_of(1)}, {600, page_of(2)}}));
  };
  expect_right();
  std::string image = read_all(spore_ + "/ram.img");
  image[5] = static_cast<char>(image[5] ^ 1);
  overwrite(spore_ + "/ram.img", image);
  expect_right();
  overwrite(spore_ + "/ram.img", "short");
  expect_right();
  overwrite(spore_ + "/ram.proof", "nonsense");
  expect_right();
  fs::remove(spore_ + "/ram.img");
  expect_right();
  fs::remove(spore_ + "/ram.proof");
  expect_right();
}

TEST_F(HostileShelfTest, TheHostsKeyIsAKey) {
  overwrite(directory_.path("cache/host-key"), "short");
  const std::string image = directory_.write("image", std::string(512, 'i'));
  SporeShelf other;
  const auto saved = other.save(test::machine(test::make_ram({}), {image}),
                                {directory_.path("b"), "{}", {}}, hypervisor_.offered);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(saved.error().message(), HasSubstr("host-key"));
}

}  // namespace
}  // namespace spore::session
