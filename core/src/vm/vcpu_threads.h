// VcpuThreads: the threads in which a shell's vCPUs run. They outlive the machines that use the
// shell: a hypervisor may make the host wait when a vCPU changes its thread (KVM: a grace period).
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace spore::vm {

// run() and wait() from one thread at a time.
class VcpuThreads {
 public:
  explicit VcpuThreads(std::size_t count);
  ~VcpuThreads();  // waits
  VcpuThreads(const VcpuThreads&) = delete;
  VcpuThreads& operator=(const VcpuThreads&) = delete;

  // Calls body(index) once in every thread. Needs that all have returned from the last one.
  void run(std::function<void(std::size_t)> body);
  // Until every thread has returned from its body.
  void wait();

 private:
  void work(std::size_t index);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable idle_;
  std::function<void(std::size_t)> body_;
  std::uint64_t round_ = 0;  // bodies so far
  std::size_t busy_ = 0;     // threads that have yet to return from it
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace spore::vm
