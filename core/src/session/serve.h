// serve: gives a Host's machines to a RemoteHost at the other end of a stream (`spore serve
// --stdio`, in the nest or behind ssh).
#pragma once

#include "session/host.h"
#include "session/transport.h"

namespace spore::session {

// Serves until the stream ends, then closes every machine and releases every spore that its client
// had. Answers an exit status: 0 when the client went, 1 when it sent bytes that make no sense.
// The descriptors are borrowed.
int serve(Host& host, int in_fd, int out_fd);
int serve(Host& host, Transport& transport);

}  // namespace spore::session
