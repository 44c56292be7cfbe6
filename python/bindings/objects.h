// The Python objects that own a part of a session.
//
// Each keeps alive what it lies in: a Process its Machine, a Machine and a Spore their Session.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <utility>
#include <vector>

#include "blocking.h"
#include "spore/session.h"

namespace spore::python {

class ProcessObject {
 public:
  ProcessObject(std::shared_ptr<Session> session, std::shared_ptr<Machine> machine,
                std::shared_ptr<Process> process)
      : session_(std::move(session)), machine_(std::move(machine)), process_(std::move(process)) {}
  ProcessObject(const ProcessObject&) = default;
  ProcessObject& operator=(const ProcessObject&) = default;
  ~ProcessObject() {
    drop(process_);
    drop(machine_);
    drop(session_);
  }
  [[nodiscard]] const std::shared_ptr<Process>& get() const { return process_; }

 private:
  std::shared_ptr<Session> session_;
  std::shared_ptr<Machine> machine_;
  std::shared_ptr<Process> process_;
};

// Every machine that a session still has to close. Only used with the GIL held.
using MachineList = std::vector<std::weak_ptr<Machine>>;

class MachineObject {
 public:
  MachineObject(std::shared_ptr<Session> session, std::shared_ptr<Machine> machine,
                std::shared_ptr<MachineList> machines)
      : session_(std::move(session)), machine_(std::move(machine)), machines_(std::move(machines)) {
    std::erase_if(*machines_, [](const auto& entry) { return entry.expired(); });
    machines_->push_back(machine_);
  }
  MachineObject(const MachineObject&) = default;
  MachineObject& operator=(const MachineObject&) = default;
  ~MachineObject() {
    drop(machine_);
    drop(session_);
  }
  [[nodiscard]] const std::shared_ptr<Machine>& get() const { return machine_; }
  [[nodiscard]] const std::shared_ptr<Session>& session() const { return session_; }
  [[nodiscard]] const std::shared_ptr<MachineList>& machines() const { return machines_; }

 private:
  std::shared_ptr<Session> session_;
  std::shared_ptr<Machine> machine_;
  std::shared_ptr<MachineList> machines_;
};

class SporeObject {
 public:
  SporeObject(std::shared_ptr<Session> session, std::shared_ptr<Spore> spore,
              std::shared_ptr<MachineList> machines)
      : session_(std::move(session)), spore_(std::move(spore)), machines_(std::move(machines)) {}
  SporeObject(const SporeObject&) = default;
  SporeObject& operator=(const SporeObject&) = default;
  ~SporeObject() {
    drop(spore_);
    drop(session_);
  }
  [[nodiscard]] const std::shared_ptr<Spore>& get() const { return spore_; }
  [[nodiscard]] const std::shared_ptr<Session>& session() const { return session_; }
  [[nodiscard]] const std::shared_ptr<MachineList>& machines() const { return machines_; }

 private:
  std::shared_ptr<Session> session_;
  std::shared_ptr<Spore> spore_;
  std::shared_ptr<MachineList> machines_;
};

void bind_disk_functions(pybind11::module_& module);
void bind_kept(pybind11::module_& module);
void bind_process(pybind11::module_& module);
void bind_machine(pybind11::module_& module);
void bind_session(pybind11::module_& module);

}  // namespace spore::python
