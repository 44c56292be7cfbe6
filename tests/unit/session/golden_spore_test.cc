// tests/golden/spore-v1 is a spore that an early version of this format's code wrote. Whatever the
// code becomes, it opens it, believes it and reads what was put in; a change that breaks this needs
// another format version. SPORE_WRITE_GOLDEN=1 writes the directory anew where it is missing.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "session/agent_section.h"
#include "snapshot/document.h"
#include "snapshot/writer.h"
#include "support/fake_hypervisor.h"
#include "unit/session/shelf_sample.h"

namespace spore::session {
namespace {

const std::string kGolden = SPORE_GOLDEN_DIR "/spore-v1";

test::Pages golden_pages() {
  return {{0, test::page_of(1)},
          {255, test::page_of(2)},
          {512, test::page_of(3)},
          {16383, test::page_of(4)}};
}

AgentSnapshot golden_agent() {
  AgentSnapshot snapshot;
  snapshot.next_id = 3;
  ProcessRecord& server = snapshot.processes[1];
  server.phase = ProcessRecord::Phase::kRunning;
  server.started = true;
  server.events = {Output{OutputStream::kStdout, "ready\n"}, AtFixturePoint{}};
  server.output[0] = {6, 0};
  server.fixture_points = 1;
  return snapshot;
}

snapshot::Manifest golden_manifest() {
  snapshot::Manifest manifest = snapshot::test::sample_manifest();
  manifest.platform = platform_on(testing::FakeHypervisor().offered);
  manifest.platform.memory_bytes = test::kMemory;
  manifest.platform.cpus = 2;
  manifest.platform.kernel_sha256 = std::string(64, 'c');
  manifest.generation = test::generation();
  return manifest;
}

Result<std::string> write_golden(const std::string& path) {
  SPORE_ASSIGN(auto writer, snapshot::SporeWriter::create(path));
  snapshot::test::SampleRam ram;
  ram.pages = golden_pages();
  SPORE_ASSIGN(const auto written, writer.write_ram(ram.to_write()));
  snapshot::Manifest manifest = golden_manifest();
  manifest.sections["ram"] = written.ref;
  SPORE_ASSIGN(manifest.sections["vm"],
               writer.write_section(snapshot::to_document(test::vm_state(2))));
  SPORE_ASSIGN(manifest.sections["agent"],
               writer.write_section(write_agent_section(golden_agent())));
  return writer.publish(manifest, "");
}

TEST(GoldenSporeTest, IsReadAsWhatWasPutIntoIt) {
  if (std::getenv("SPORE_WRITE_GOLDEN") != nullptr && !std::filesystem::exists(kGolden)) {
    const auto written = write_golden(kGolden);
    ASSERT_TRUE(written) << written.error().message();
  }
  const snapshot::test::TemporaryDirectory directory;
  ::setenv("SPORE_CACHE_DIR", directory.path("cache").c_str(), 1);
  SporeShelf shelf;
  const auto loaded = shelf.load(kGolden, {}, testing::FakeHypervisor().offered);
  ASSERT_TRUE(loaded) << loaded.error().message();
  const vm::Capture& capture = *loaded->machine.capture;
  EXPECT_TRUE(capture.state == test::vm_state(2));
  EXPECT_TRUE(test::pages_of(*capture.ram) == golden_pages());
  EXPECT_EQ(capture.ram->size(), test::kMemory);
  EXPECT_EQ(capture.config.cpus, 2U);
  EXPECT_EQ(capture.generation.id, test::generation().id);
  EXPECT_EQ(capture.generation.parameters.user, test::generation().parameters.user);
  EXPECT_EQ(loaded->spore.annotations, golden_manifest().annotations);
  const auto agent = read_agent_section(loaded->agent_section, "the golden spore");
  ASSERT_TRUE(agent) << agent.error().message();
  EXPECT_EQ(write_agent_section(*agent), write_agent_section(golden_agent()));
}

// The files of chunks are the compressor's affair; everything else has one spelling.
TEST(GoldenSporeTest, TheSameInputsAreTheSameManifestAndSections) {
  const snapshot::test::TemporaryDirectory directory;
  const std::string now = directory.path("spore");
  const auto id = write_golden(now);
  ASSERT_TRUE(id) << id.error().message();
  using snapshot::test::read_all;
  EXPECT_EQ(read_all(now + "/manifest.json"), read_all(kGolden + "/manifest.json"));
  EXPECT_EQ(read_all(now + "/manifest.sha256"), read_all(kGolden + "/manifest.sha256"));
  for (const auto* folder : {"/sections", "/chunks"}) {
    EXPECT_EQ(snapshot::test::count_entries(now + folder),
              snapshot::test::count_entries(kGolden + folder));
    for (const auto& entry : std::filesystem::directory_iterator(now + folder)) {
      const std::string name = std::string(folder) + "/" + entry.path().filename().string();
      EXPECT_TRUE(std::filesystem::exists(kGolden + name)) << name;
    }
  }
}

}  // namespace
}  // namespace spore::session
