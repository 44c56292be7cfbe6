// The root file system of a machine: read-only images on virtio disks, stacked, with a tmpfs on top
// that takes the writes.
#pragma once

#include "agent/boot.h"
#include "spore/result.h"

namespace spore::agent {

// Waits for `images` disks (/dev/vda, /dev/vdb, ...; the first is the lowest layer), stacks them
// and makes the result the root of this process, with /proc, /sys, /dev and /run moved along.
// Without images the root is an empty tmpfs.
Result<void> enter_root(unsigned images, DeviceWaiter& waiter);

// Files that programs expect and an image may lack: /etc/passwd, /etc/group, /etc/hosts.
Result<void> complete_root();

}  // namespace spore::agent
