#include "vm/shell_pool.h"

#include <algorithm>
#include <utility>

namespace spore::vm {
namespace {

// How near a shell is to an image; higher is better. Of two that are as near, the used one has more
// of it in place.
int nearness(const Shell& shell, bool used, const memory::RamImage& image) {
  const auto& held = shell.ram().image();
  if (!held->has_base_of(image)) {
    return 0;
  }
  return (held.get() == &image ? 3 : 1) + (used ? 1 : 0);
}

}  // namespace

ShellPool::ShellPool(std::shared_ptr<Hypervisor> hypervisor, std::size_t most)
    : hypervisor_(std::move(hypervisor)), most_(most), worker_([this] { work(); }) {}

ShellPool::~ShellPool() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void ShellPool::expect(const ShellShape& shape, Image image) {
  const std::lock_guard lock(mutex_);
  expected_.push_back({shape, std::move(image)});
  can_make_ = true;
  changed_.notify_all();
}

void ShellPool::forget(const Image& image) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(expected_.begin(), expected_.end(),
                               [&](const Expected& one) { return one.image == image; });
  if (at == expected_.end()) {
    return;
  }
  expected_.erase(at);
  for (auto shell = waiting_.begin(); shell != waiting_.end();) {
    const auto next = std::next(shell);
    if (!is_expected(*shell->shell)) {
      discarded_.splice(discarded_.end(), waiting_, shell);
    }
    shell = next;
  }
  changed_.notify_all();
}

// A shell that holds an image keeps the memory of its base.
bool ShellPool::is_expected(const Shell& shell) const {
  return std::any_of(expected_.begin(), expected_.end(), [&](const Expected& one) {
    return one.shape == shell.shape() && shell.ram().image()->has_base_of(*one.image);
  });
}

Result<ShellPool::Taken> ShellPool::take(const ShellShape& shape, const Image& image) {
  {
    const std::lock_guard lock(mutex_);
    auto best = waiting_.end();
    int best_nearness = -1;
    for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
      const int near = nearness(*one->shell, one->used, *image);
      if (one->shell->shape() == shape && near > best_nearness) {
        best = one;
        best_nearness = near;
      }
    }
    if (best != waiting_.end()) {
      Taken taken{std::move(best->shell), best->used && best_nearness > 0};
      waiting_.erase(best);
      changed_.notify_all();
      return taken;
    }
  }
  SPORE_ASSIGN(auto made, Shell::for_forks(*hypervisor_, shape, image));
  return Taken{std::move(made), false};
}

void ShellPool::give_back(std::unique_ptr<Shell> shell) {
  const std::lock_guard lock(mutex_);
  Shells& place = is_expected(*shell) ? waiting_ : discarded_;
  place.push_front({std::move(shell), true});
  if (waiting_.size() > most_) {
    // One that was never used has least to lose; else the longest unused.
    auto least = std::find_if(waiting_.begin(), waiting_.end(),
                              [](const Waiting& one) { return !one.used; });
    if (least == waiting_.end()) {
      --least;
    }
    discarded_.splice(discarded_.end(), waiting_, least);
  }
  changed_.notify_all();
}

std::size_t ShellPool::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

bool ShellPool::has_room() const {
  return can_make_ && !expected_.empty() && waiting_.size() < most_;
}

void ShellPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return over_ || !discarded_.empty() || has_room(); });
    if (over_) {
      return;
    }
    if (!discarded_.empty()) {
      Shells gone;
      gone.swap(discarded_);
      lock.unlock();
      gone.clear();
      lock.lock();
      continue;
    }
    const Expected next = expected_.back();
    lock.unlock();
    auto made = Shell::for_forks(*hypervisor_, next.shape, next.image);
    lock.lock();
    // A host that refuses one now may give it to a fork later: else the fork says what is wrong.
    can_make_ = made.has_value();
    if (made) {
      (is_expected(**made) ? waiting_ : discarded_).push_back({std::move(*made), false});
    }
  }
}

}  // namespace spore::vm
