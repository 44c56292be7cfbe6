// The one frame codec: agent protocol (over vsock) and host protocol (over stdio or a socket) both
// send frames. Layout, little-endian:
//
//   u32 length of the payload    u16 type    u16 reserved, 0    u64 subject    payload
//
// `subject` is a process id in the agent protocol and a machine id in the host protocol.
// Every byte read is hostile: a peer that sends a length over kMaxPayload or a non-zero reserved
// field has broken the stream for good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spore/result.h"

namespace spore::wire {

inline constexpr std::size_t kFrameHeaderSize = 16;
inline constexpr std::size_t kMaxPayload = 1024 * 1024;

struct Frame {
  std::uint16_t type = 0;
  std::uint64_t subject = 0;
  std::string payload;
};

// Appends the encoded frame to `out`. The payload must not be over kMaxPayload.
void encode_frame(std::uint16_t type, std::uint64_t subject, std::string_view payload,
                  std::string& out);

// Takes bytes as they come and gives back whole frames. Holds at most one frame and what was fed.
class FrameDecoder {
 public:
  void feed(std::string_view bytes);
  // The next whole frame; nullopt when more bytes are needed; kCorrupt for ever once the stream
  // is broken.
  Result<std::optional<Frame>> next();
  // Bytes fed and not yet given back (0 at a frame boundary).
  [[nodiscard]] std::size_t pending() const noexcept { return buffer_.size() - consumed_; }

 private:
  std::string buffer_;
  std::size_t consumed_ = 0;
  bool broken_ = false;
};

}  // namespace spore::wire
