#include "vm/vcpu_threads.h"

#include <pthread.h>

#include <csignal>
#include <utility>

#include "base/check.h"

namespace spore::vm {
namespace {

// The process's signals belong to its other threads; real-time signals interrupt a vCPU.
void keep_signals_away() {
  sigset_t signals;
  ::sigfillset(&signals);
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    ::sigdelset(&signals, number);
  }
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

VcpuThreads::VcpuThreads(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    threads_.emplace_back([this, i] { work(i); });
  }
}

VcpuThreads::~VcpuThreads() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void VcpuThreads::run(std::function<void(std::size_t)> body) {
  {
    const std::lock_guard lock(mutex_);
    SPORE_CHECK(busy_ == 0);
    body_ = std::move(body);
    busy_ = threads_.size();
    ++round_;
  }
  changed_.notify_all();
}

void VcpuThreads::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return busy_ == 0; });
  body_ = nullptr;
}

void VcpuThreads::work(std::size_t index) {
  keep_signals_away();
  std::unique_lock lock(mutex_);
  for (std::uint64_t done = 0;; ++done) {
    changed_.wait(lock, [&] { return over_ || round_ != done; });
    if (round_ == done) {
      return;
    }
    lock.unlock();
    body_(index);  // not changed while this thread is busy
    lock.lock();
    if (--busy_ == 0) {
      idle_.notify_all();
    }
  }
}

}  // namespace spore::vm
