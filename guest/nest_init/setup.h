// Turns the freshly booted kernel of the nest into a machine whose file tree is the host's: loads
// the modules of the initramfs, mounts the host's "/" over virtio-9p and makes it the root, with
// the nest's own /proc, /sys, /dev, /run and /dev/shm on top.
#pragma once

namespace spore::nest_init {

// What the kernel command line asks for.
struct Settings {
  unsigned long idle_seconds = 600;  // spore.idle=
  unsigned long ports = 1;           // spore.ports=: control ports that the machine has
};

// /proc, /sys and /dev of the initramfs, so that the console and the command line can be read.
void mount_early();

Settings read_settings();

// Loads /modules/*.ko in the order of their names.
void load_modules();

// Keeps this process, and all that it starts, off CPU 0. QEMU's TCG updates flags of CPU 0 from the
// threads of other CPUs, without care: any of them that loads x87 state writes back what it just
// read of env->hflags2 (cpu_clear_ignne(), target/i386/tcg/system/fpu_helper.c). When CPU 0 enters
// or leaves a guest at that moment, its flags say the wrong mode, and the guest is lost.
void leave_cpu_0();

// Mounts the host's file system and makes it "/". Ends in die() when that is impossible.
void enter_host_root();

// Says `what` and the text of errno on the console, and powers the machine off.
[[noreturn]] void die(const char* what);

[[noreturn]] void power_off();

}  // namespace spore::nest_init
