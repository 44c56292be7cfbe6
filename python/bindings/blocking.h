// Calls that wait, made so that other Python threads run meanwhile and Ctrl-C ends the wait.
//
// Python runs signal handlers in its main thread only, between bytecodes. A wait of the main thread
// is therefore done by a helper thread, and the main thread looks for signals in short slices. When
// a handler raises, the helper is left to finish alone: whatever `call` uses it must own.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace spore::python {

inline constexpr std::chrono::milliseconds kSignalSlice{50};

// Whether this is the thread in which Python runs signal handlers. Needs the GIL.
bool is_main_thread();

// Throws what a signal handler raised, if one did. Needs the GIL.
void check_signals();

// `call()` without the GIL. `call` owns all that it uses, and takes no GIL itself unless it gives
// it back.
template <typename Call>
auto blocking(Call call) -> decltype(call()) {
  using Value = decltype(call());
  if (!is_main_thread()) {
    const pybind11::gil_scoped_release release;
    return call();
  }
  auto task = std::make_shared<std::packaged_task<Value()>>(std::move(call));
  std::future<Value> future = task->get_future();
  {
    const pybind11::gil_scoped_release release;
    std::thread([task] { (*task)(); }).detach();
  }
  for (;;) {
    {
      const pybind11::gil_scoped_release release;
      if (future.wait_for(kSignalSlice) == std::future_status::ready) {
        return future.get();
      }
    }
    check_signals();
  }
}

// Destroys `object` without the GIL: the end of a machine may be a round trip to its engine.
template <typename T>
void drop(std::shared_ptr<T>& object) {
  if (!object) {
    return;
  }
  if (PyGILState_Check() == 0) {
    object.reset();
    return;
  }
  const pybind11::gil_scoped_release release;
  object.reset();
}

}  // namespace spore::python
