// How a client takes over one of the nest's control ports, before the agent protocol begins on it.
//
// A virtio-serial port is one endless stream: the guest can miss that one client went and another
// came, and half a frame of the one may be read by the other. So a client says kAttach with a
// nonce, reads past whatever comes until the nest's kEcho of its latest kAttach, and says kGo; what
// follows are agent frames. The magic, read as the length of a frame, is over kMaxPayload: an agent
// that still listens to the client before ends its stream.
//
// Hostile bytes: both directions may begin with leftovers of another client.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace spore::wire {

inline constexpr std::string_view kAttachMagic{"\xff\xff\xff\xffSPOREAT", 11};

enum class AttachKind : std::uint8_t {
  kAttach = 1,    // client: who is there?
  kEcho = 2,      // nest: the same nonce and sequence
  kGo = 3,        // client: agent frames from here on
  kPowerOff = 4,  // client, in place of kGo: end the nest in order
};

struct AttachRecord {
  std::array<char, kAttachMagic.size()> magic{};
  AttachKind kind = AttachKind::kAttach;
  std::uint32_t sequence = 0;
  std::array<std::uint8_t, 16> nonce{};
};
static_assert(sizeof(AttachRecord) == 32);

inline AttachRecord make_attach_record(AttachKind kind, std::uint32_t sequence,
                                       const std::array<std::uint8_t, 16>& nonce) {
  AttachRecord record{.kind = kind, .sequence = sequence, .nonce = nonce};
  std::memcpy(record.magic.data(), kAttachMagic.data(), kAttachMagic.size());
  return record;
}

// Takes bytes one at a time and tells when the last ones were a record.
class AttachScanner {
 public:
  std::optional<AttachRecord> feed(char byte) {
    std::memmove(window_.data(), window_.data() + 1, window_.size() - 1);
    window_.back() = byte;
    if (std::memcmp(window_.data(), kAttachMagic.data(), kAttachMagic.size()) != 0) {
      return std::nullopt;
    }
    AttachRecord record;
    std::memcpy(&record, window_.data(), sizeof(record));
    window_.fill(0);
    return record;
  }

 private:
  std::array<char, sizeof(AttachRecord)> window_{};
};

}  // namespace spore::wire
