// Which shell a fork gets, what is made ahead, and what becomes of shells that nobody needs.
#include "vm/shell_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "isa/board.h"
#include "support/fake_hypervisor.h"

namespace spore::vm {
namespace {

constexpr ShellShape kShape{64 * 1024 * 1024, 1};

class ShellPoolTest : public ::testing::Test {
 protected:
  static ShellPool::Image image() {
    return memory::Ram::create(isa::ram_layout(kShape.memory_bytes)).value()->capture().value();
  }
  // The pool works in a thread of its own.
  static void await_waiting(const ShellPool& pool, std::size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (pool.waiting() != count && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(pool.waiting(), count);
  }

  std::shared_ptr<testing::FakeHypervisor> hypervisor_ =
      std::make_shared<testing::FakeHypervisor>();
};

TEST_F(ShellPoolTest, MakesShellsAheadOnlyWhenForksAreExpected) {
  ShellPool pool(hypervisor_, 3);
  EXPECT_EQ(pool.waiting(), 0U);
  const auto spore = image();
  pool.expect(kShape, spore);
  await_waiting(pool, 3);
  pool.forget(spore);
  EXPECT_EQ(pool.waiting(), 0U);
}

TEST_F(ShellPoolTest, AForkWithoutAWaitingShellGetsANewOne) {
  ShellPool pool(hypervisor_, 2);
  const auto taken = pool.take(kShape, image());
  ASSERT_TRUE(taken);
  EXPECT_NE(taken->shell, nullptr);
  EXPECT_FALSE(taken->reset);
}

TEST_F(ShellPoolTest, TheNearestShellComesFirst) {
  ShellPool pool(hypervisor_, 2);
  const auto one = image();
  const auto two = image();
  pool.expect(kShape, one);
  pool.expect(kShape, two);
  auto of_one = Shell::for_forks(*hypervisor_, kShape, one).value();
  const Shell* const used = of_one.get();
  pool.give_back(std::move(of_one));
  auto taken = pool.take(kShape, one).value();
  EXPECT_EQ(taken.shell.get(), used);
  EXPECT_TRUE(taken.reset);
  // A new one, or one of another spore, is no reset.
  pool.give_back(std::move(taken.shell));
  EXPECT_FALSE(pool.take(kShape, two).value().reset);
}

TEST_F(ShellPoolTest, AShellOfAForgottenSporeGoes) {
  ShellPool pool(hypervisor_, 1);
  const auto one = image();
  pool.expect(kShape, one);
  auto taken = pool.take(kShape, one).value();
  pool.forget(one);
  pool.give_back(std::move(taken.shell));
  await_waiting(pool, 0);
}

TEST_F(ShellPoolTest, NoMoreWaitThanItWasToldToKeep) {
  ShellPool pool(hypervisor_, 2);
  const auto spore = image();
  pool.expect(kShape, spore);
  std::vector<std::unique_ptr<Shell>> shells;
  for (int i = 0; i < 5; ++i) {
    shells.push_back(pool.take(kShape, spore).value().shell);
  }
  await_waiting(pool, 2);
  for (auto& shell : shells) {
    pool.give_back(std::move(shell));
  }
  EXPECT_EQ(pool.waiting(), 2U);
  // Those that went were never used.
  EXPECT_TRUE(pool.take(kShape, spore).value().reset);
  EXPECT_TRUE(pool.take(kShape, spore).value().reset);
}

}  // namespace
}  // namespace spore::vm
