#include "cli/machines/frame_stream.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <utility>

namespace spore::cli::machines {

Result<std::unique_ptr<FrameStream>> FrameStream::create(base::UniqueFd socket) {
  const int number = socket.get();
  SPORE_ASSIGN(auto transport, session::FdTransport::create(std::move(socket)));
  return std::unique_ptr<FrameStream>(new FrameStream(std::move(transport), number));
}

void FrameStream::close() {
  transport_->close();
  ::shutdown(socket_, SHUT_RDWR);
}

Result<std::optional<wire::Frame>> FrameStream::receive() {
  std::array<char, kMaxPart> buffer;
  for (;;) {
    SPORE_ASSIGN(auto frame, decoder_.next());
    if (frame) {
      return frame;
    }
    SPORE_ASSIGN(const std::size_t size, transport_->read(buffer));
    if (size == 0) {
      return std::optional<wire::Frame>();
    }
    decoder_.feed({buffer.data(), size});
  }
}

Result<void> FrameStream::send(MonitorFrame type, std::string_view payload) {
  std::string bytes;
  wire::encode_frame(static_cast<std::uint16_t>(type), 0, payload, bytes);
  const std::lock_guard lock(send_mutex_);
  return transport_->write(bytes);
}

Result<void> FrameStream::send_error(const Error& error) {
  const auto code = static_cast<std::uint32_t>(error.code());
  return send(MonitorFrame::kError,
              wire::to_cbor(wire::ErrorMessage{code, error.message().substr(0, kMaxPart)}));
}

std::string hello_payload() {
  return wire::to_cbor(wire::HostHelloMessage{kMonitorProtocolVersion, SPORE_VERSION});
}

Result<void> check_hello(const wire::Frame& frame, std::string_view who) {
  const auto hello = wire::from_cbor<wire::HostHelloMessage>(frame.payload);
  if (type_of(frame) != MonitorFrame::kHello || !hello) {
    return fail(ErrorCode::kCorrupt, fmt::format("talking to {}: it is no spore", who));
  }
  if (hello->version != kMonitorProtocolVersion || hello->build != SPORE_VERSION) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("talking to {}: it is another build of spore ({}, protocol {}; this is "
                            "{}, protocol {}): use that one, or remove the machine with `spore rm "
                            "-f` and create it again",
                            who, hello->build.substr(0, 64), hello->version, SPORE_VERSION,
                            kMonitorProtocolVersion));
  }
  return {};
}

Error error_of(const wire::Frame& frame) {
  auto message = wire::from_cbor<wire::ErrorMessage>(frame.payload);
  if (!message || message->code > static_cast<std::uint32_t>(ErrorCode::kInternal)) {
    return Error(ErrorCode::kCorrupt, "reading an error: the other end sent none that makes sense");
  }
  return Error(static_cast<ErrorCode>(message->code), std::move(message->message));
}

Error senseless(std::string_view attempted, const wire::Frame& frame) {
  return Error(ErrorCode::kCorrupt,
               fmt::format("{}: the other end sent a frame of type {} that makes no sense here",
                           attempted, frame.type));
}

}  // namespace spore::cli::machines
