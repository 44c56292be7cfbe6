#include "wire/frame.h"

#include <cstring>

#include "base/check.h"

namespace spore::wire {
namespace {

struct Header {
  std::uint32_t length;
  std::uint16_t type;
  std::uint16_t reserved;
  std::uint64_t subject;
};
static_assert(sizeof(Header) == kFrameHeaderSize);

}  // namespace

void encode_frame(std::uint16_t type, std::uint64_t subject, std::string_view payload,
                  std::string& out) {
  SPORE_CHECK(payload.size() <= kMaxPayload);
  const Header header{static_cast<std::uint32_t>(payload.size()), type, 0, subject};
  out.reserve(out.size() + sizeof(header) + payload.size());
  out.append(reinterpret_cast<const char*>(&header), sizeof(header));
  out.append(payload);
}

void FrameDecoder::feed(std::string_view bytes) {
  if (consumed_ == buffer_.size()) {
    buffer_.clear();
    consumed_ = 0;
  } else if (consumed_ > kMaxPayload) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameDecoder::next() {
  const std::string_view rest = std::string_view(buffer_).substr(consumed_);
  Header header;
  if (!broken_ && rest.size() >= sizeof(header)) {
    std::memcpy(&header, rest.data(), sizeof(header));
    broken_ = header.length > kMaxPayload || header.reserved != 0;
  }
  if (broken_) {
    return fail(ErrorCode::kCorrupt, "reading a frame: the peer sent bytes that are no frame");
  }
  if (rest.size() < sizeof(header) || rest.size() - sizeof(header) < header.length) {
    return std::optional<Frame>();
  }
  Frame frame{header.type, header.subject, std::string(rest.substr(sizeof(header), header.length))};
  consumed_ += sizeof(header) + header.length;
  return std::optional<Frame>(std::move(frame));
}

}  // namespace spore::wire
