// The generation device: the doorbell window of wire/generation_page.h, and what goes into the
// page. Doorbell writes are the guest's and hostile.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "bus/io_handler.h"
#include "spore/machine.h"
#include "spore/result.h"
#include "wire/generation_page.h"

namespace spore::devices {

// A fork gives its children one with a number of their own.
struct GenerationState {
  std::uint64_t number = 0;
  bool operator==(const GenerationState&) const = default;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GenerationState, number)

class GenerationDevice final : public bus::IoHandler {
 public:
  // Called for each known command, with the device lock held, from the vCPU thread whose write it
  // is.
  using Doorbell = std::function<void(wire::DoorbellCommand)>;

  GenerationDevice(Doorbell doorbell, const GenerationState& state)
      : doorbell_(std::move(doorbell)), state_(state) {}

  [[nodiscard]] GenerationState state() const { return state_; }
  // Doorbell writes that were no command.
  [[nodiscard]] std::uint64_t unknown_commands() const noexcept { return unknown_commands_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "generation"; }
  void read(std::uint64_t offset, std::span<std::byte> data) override;
  void write(std::uint64_t offset, std::span<const std::byte> data) override;

 private:
  Doorbell doorbell_;
  GenerationState state_;
  std::uint64_t unknown_commands_ = 0;
};

// What is fresh in every generation, from the host.
struct GenerationSources {
  std::function<void(std::span<std::byte>)> entropy;  // fills all of its argument
  std::chrono::system_clock::time_point now;
};

// Of a child; make_generation_page() refuses them as well. kInvalidArgument: they are more than
// kMaxForkUserBytes.
Result<void> check_user_parameters(const std::map<std::string, std::string>& user);

// The page for a machine. Parameters that are left empty get their defaults ("<index>",
// "spore-<index>"). kInvalidArgument names the parameter that does not fit or makes no sense: an id
// that is not 32 hexadecimal digits, a name over 63 bytes, a hostname that is no RFC 1123 label
// sequence of at most 63 bytes, user parameters that are too many or not UTF-8, a shard or child
// index that is not below its count.
Result<wire::GenerationPage> make_generation_page(const Generation& generation,
                                                  const GenerationSources& sources);

// A fresh id: 32 hexadecimal digits, never all zero.
std::string make_generation_id(const std::function<void(std::span<std::byte>)>& entropy);

}  // namespace spore::devices
