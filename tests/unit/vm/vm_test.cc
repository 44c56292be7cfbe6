// The run loop, capture and fork of a machine, on scripted vCPUs.
#include "vm/vm.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "isa/board.h"
#include "support/fake_hypervisor.h"
#include "wire/generation_page.h"

namespace spore::vm {
namespace {

using testing::FakeCpu;
using testing::FakeHypervisor;
using ::testing::HasSubstr;

class Watcher final : public VmObserver {
 public:
  void on_agent_bytes(std::string_view) override {}
  void on_captured(const CaptureTimings&) override {
    note([this] { ++captures_; });
  }
  void on_ended(const MachineEnd& end) override {
    note([&] { end_ = end; });
  }

  void await_captures(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return captures_ >= count || end_; });
  }
  MachineEnd await_end() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return end_.has_value(); });
    return *end_;
  }
  [[nodiscard]] bool ended() {
    const std::lock_guard lock(mutex_);
    return end_.has_value();
  }

 private:
  template <typename Change>
  void note(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  int captures_ = 0;
  std::optional<MachineEnd> end_;
};

// An ELF kernel of a few bytes at 16 MiB.
std::vector<std::byte> tiny_kernel() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = EM_X86_64;
  header.e_entry = 0x1000000;
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_paddr = 0x1000000;
  segment.p_filesz = 16;
  segment.p_memsz = 4096;
  std::vector<std::byte> file(sizeof(header) + sizeof(segment) + 16);
  std::memcpy(file.data(), &header, sizeof(header));
  std::memcpy(file.data() + sizeof(header), &segment, sizeof(segment));
  return file;
}

Generation generation(std::uint64_t number, char digit) {
  Generation generation;
  generation.number = number;
  generation.id = std::string(32, digit);
  return generation;
}

class VmTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Vm>> try_boot(const VmConfig& config) {
    const auto kernel = tiny_kernel();
    return Vm::boot(hypervisor_, config, {kernel, initramfs_, ""}, generation(0, 'a'), watcher_);
  }
  std::unique_ptr<Vm> boot(std::uint32_t cpus = 1) {
    auto vm = try_boot({64 * kMiB, cpus, {}});
    EXPECT_TRUE(vm) << vm.error().message();
    return std::move(*vm);
  }
  Result<std::unique_ptr<Vm>> fork(const std::shared_ptr<const Capture>& capture,
                                   Generation generation, std::shared_ptr<VmObserver> observer) {
    ForkTimings timings;
    return Vm::fork(Shell::for_forks(hypervisor_, capture->shape(), capture->ram).value(), capture,
                    std::move(generation), std::move(observer), timings);
  }
  static void ring(FakeCpu& cpu, wire::DoorbellCommand command) {
    const auto value = static_cast<std::uint32_t>(command);
    std::vector<std::byte> data(sizeof(value));
    std::memcpy(data.data(), &value, sizeof(value));
    cpu.write_mmio(isa::kDoorbell + wire::kDoorbellRegRing, std::move(data));
  }
  static void print(FakeCpu& cpu, std::string_view text) {
    for (const char c : text) {
      cpu.write_port(isa::kSerialPort, {static_cast<std::byte>(c)});
    }
  }

  FakeHypervisor hypervisor_;
  std::shared_ptr<Watcher> watcher_ = std::make_shared<Watcher>();
  std::vector<std::byte> initramfs_ = std::vector<std::byte>(4096);
};

TEST_F(VmTest, AMachineOutOfBoundsIsRefusedWithTheBounds) {
  EXPECT_THAT(try_boot({32 * kMiB, 1, {}}).error().message(), HasSubstr("64 to 65536 MiB"));
  EXPECT_THAT(try_boot({64 * kMiB + 1, 1, {}}).error().message(), HasSubstr("whole number"));
  EXPECT_THAT(try_boot({64 * kMiB, 0, {}}).error().message(), HasSubstr("1 to 8 CPUs"));
  EXPECT_THAT(try_boot({64 * kMiB, 9, {}}).error().message(), HasSubstr("asked for 9"));
  EXPECT_THAT(try_boot({64 * kMiB, 1, std::vector<std::string>(7, "/dev/null")}).error().message(),
              HasSubstr("at most 6 root images"));
}

TEST_F(VmTest, AnInitramfsThatDoesNotFitSaysHowMuchMemoryIsNeeded) {
  initramfs_.resize(40 * kMiB);
  const auto refused = try_boot({64 * kMiB, 1, {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message(), HasSubstr("memory too small, at least"));
}

TEST_F(VmTest, PowerOffEndsInOrder) {
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kPowerOff);
  const auto vm = boot(2);
  vm->start();
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kPoweredOff);
}

TEST_F(VmTest, APanicIsToldFromAReset) {
  print(hypervisor_.cpu(0, 0), "early\r\nKernel panic - not syncing: no init\r\n");
  hypervisor_.cpu(0, 0).stop_with(ExitShutdown{});
  const auto vm = boot();
  vm->start();
  const MachineEnd end = watcher_->await_end();
  EXPECT_EQ(end.reason, EndReason::kPanicked);
  EXPECT_EQ(end.detail, "Kernel panic - not syncing: no init");
  EXPECT_THAT(end.console_tail, HasSubstr("early"));
}

TEST_F(VmTest, AShutdownWithoutAPanicIsAReset) {
  hypervisor_.cpu(0, 1).stop_with(ExitShutdown{});
  const auto vm = boot(2);
  vm->start();
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kReset);
}

TEST_F(VmTest, AnEngineFailureSaysWhy) {
  hypervisor_.cpu(0, 0).stop_with(ExitFailed{"KVM is out of sorts"});
  const auto vm = boot();
  vm->start();
  const MachineEnd end = watcher_->await_end();
  EXPECT_EQ(end.reason, EndReason::kEngineFailed);
  EXPECT_EQ(end.detail, "KVM is out of sorts");
}

TEST_F(VmTest, CloseEndsARunningMachineOnce) {
  const auto vm = boot(3);
  vm->start();
  vm->close();
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kClosed);
  vm->close();
}

TEST_F(VmTest, ACaptureStopsAllVcpusAndFinishesTheirInstructions) {
  ring(hypervisor_.cpu(0, 1), wire::DoorbellCommand::kCapture);
  const auto vm = boot(4);
  vm->start();
  watcher_->await_captures(1);
  ASSERT_FALSE(watcher_->ended());
  EXPECT_EQ(hypervisor_.cpu(0, 1).settled_accesses(), 1);
  const auto capture = vm->take_capture(/*keep_running=*/false);
  ASSERT_TRUE(capture) << capture.error().message();
  EXPECT_EQ((*capture)->state.cpus.size(), 4u);
  EXPECT_EQ((*capture)->ram->size(), 64 * kMiB);
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kClosed);
}

TEST_F(VmTest, TwoVcpusThatRingAtOnceStandStillOnce) {
  const auto vm = boot(2);
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
  ring(hypervisor_.cpu(0, 1), wire::DoorbellCommand::kCapture);
  vm->start();
  watcher_->await_captures(1);
  ASSERT_FALSE(watcher_->ended());
  EXPECT_TRUE(vm->take_capture(false));
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kClosed);
}

TEST_F(VmTest, AMachineThatGoesOnCanBeCapturedAgain) {
  const auto vm = boot(2);
  vm->start();
  for (int i = 1; i <= 3; ++i) {
    ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
    watcher_->await_captures(i);
    ASSERT_FALSE(watcher_->ended());
    ASSERT_TRUE(vm->take_capture(/*keep_running=*/true));
  }
}

TEST_F(VmTest, ACaptureThatCannotBeSavedEndsTheMachine) {
  const auto vm = boot();
  hypervisor_.fail_saves();
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
  vm->start();
  EXPECT_EQ(watcher_->await_end().reason, EndReason::kEngineFailed);
  EXPECT_FALSE(vm->take_capture(false));
}

TEST_F(VmTest, TakingWithoutADoorbellIsRefused) {
  const auto vm = boot();
  vm->start();
  EXPECT_EQ(vm->take_capture(true).error().code(), ErrorCode::kMachineEnded);
}

TEST_F(VmTest, AChildIsAnotherGenerationOverTheSameState) {
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
  const auto vm = boot();
  vm->start();
  watcher_->await_captures(1);
  const auto capture = vm->take_capture(false);
  ASSERT_TRUE(capture);

  Generation child = generation(1, 'b');
  child.parent_id = (*capture)->generation.id;
  child.parameters.child_index = 3;
  child.parameters.child_count = 5;
  auto forked = fork(*capture, child, std::make_shared<Watcher>());
  ASSERT_TRUE(forked) << forked.error().message();
  EXPECT_EQ((*forked)->generation().number, 1u);
  const auto stats = (*forked)->stats();
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->memory_bytes, 64 * kMiB);
  EXPECT_EQ(stats->private_bytes, wire::kGenerationPageSize);  // its generation page, and no more
}

TEST_F(VmTest, AMachineThatIsOverGivesItsShellToTheNext) {
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
  const auto parent = boot();
  parent->start();
  watcher_->await_captures(1);
  const auto capture = parent->take_capture(false);
  ASSERT_TRUE(capture);
  EXPECT_EQ(parent->release_shell(), nullptr);  // it was made for a boot

  auto shell = Shell::for_forks(hypervisor_, (*capture)->shape(), (*capture)->ram).value();
  const Shell* const first = shell.get();
  for (int life = 0; life < 3; ++life) {
    ring(hypervisor_.cpu(1, 0), wire::DoorbellCommand::kPowerOff);
    const auto watcher = std::make_shared<Watcher>();
    ForkTimings timings;
    auto vm = Vm::fork(std::move(shell), *capture, generation(1, 'b'), watcher, timings);
    ASSERT_TRUE(vm) << vm.error().message();
    if (life > 0) {
      EXPECT_EQ(timings.pages_checked, 2U);  // the generation page, and the one below
    }
    hypervisor_.will_tell_written({{0, 100}});
    (*vm)->start();
    EXPECT_EQ(watcher->await_end().reason, EndReason::kPoweredOff);
    shell = (*vm)->release_shell();
    EXPECT_EQ(shell.get(), first);
    // What is left of it answers, and has no machine.
    EXPECT_EQ((*vm)->stats().error().code(), ErrorCode::kMachineEnded);
    (*vm)->send_to_agent("late");
    EXPECT_EQ((*vm)->release_shell(), nullptr);
  }
}

TEST_F(VmTest, AShellWhoseGuestCrashedIsNotUsedAgain) {
  ring(hypervisor_.cpu(0, 0), wire::DoorbellCommand::kCapture);
  const auto parent = boot();
  parent->start();
  watcher_->await_captures(1);
  const auto capture = parent->take_capture(false);
  ASSERT_TRUE(capture);
  hypervisor_.cpu(1, 0).stop_with(ExitShutdown{});
  const auto watcher = std::make_shared<Watcher>();
  auto vm = fork(*capture, generation(1, 'b'), watcher);
  ASSERT_TRUE(vm);
  (*vm)->start();
  EXPECT_EQ(watcher->await_end().reason, EndReason::kReset);
  EXPECT_EQ((*vm)->release_shell(), nullptr);
}

}  // namespace
}  // namespace spore::vm
