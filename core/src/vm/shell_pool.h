// ShellPool: shells that wait for a machine. Some are made ahead, by a thread of the pool's own, so
// that a fork does not wait for the hypervisor; the others were left by machines that have ended,
// and have most of a spore's working set in place.
//
// Threads: any.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "memory/ram_image.h"
#include "vm/shell.h"

namespace spore::vm {

class ShellPool {
 public:
  using Image = std::shared_ptr<const memory::RamImage>;

  // Keeps at most `most` shells waiting, and makes as many ahead for the image that was expected
  // last.
  ShellPool(std::shared_ptr<Hypervisor> hypervisor, std::size_t most);
  ~ShellPool();
  ShellPool(const ShellPool&) = delete;
  ShellPool& operator=(const ShellPool&) = delete;

  // Forks of `image` are to come.
  void expect(const ShellShape& shape, Image image);
  // They are not: what waits for them, and for nothing else, goes.
  void forget(const Image& image);

  struct Taken {
    std::unique_ptr<Shell> shell;
    bool reset = false;  // a machine of the same base image left it
  };
  // The one that is nearest to `image`, or a new one.
  Result<Taken> take(const ShellShape& shape, const Image& image);
  // A shell that its machine needs no more.
  void give_back(std::unique_ptr<Shell> shell);

  [[nodiscard]] std::size_t waiting() const;

 private:
  struct Waiting {
    std::unique_ptr<Shell> shell;
    bool used = false;
  };
  using Shells = std::list<Waiting>;
  struct Expected {
    ShellShape shape;
    Image image;
  };
  void work();
  [[nodiscard]] bool is_expected(const Shell& shell) const;
  [[nodiscard]] bool has_room() const;

  const std::shared_ptr<Hypervisor> hypervisor_;
  const std::size_t most_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Shells waiting_;    // the last one given back is first
  Shells discarded_;  // to be destroyed by the pool's thread
  std::vector<Expected> expected_;
  bool can_make_ = true;  // until the hypervisor refuses
  bool over_ = false;
  std::thread worker_;
};

}  // namespace spore::vm
