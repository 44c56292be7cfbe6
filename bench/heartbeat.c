/* PID 1 of the machine that QEMU saves and restores: says that it is alive, again and again. */
#include <unistd.h>

int main(void) {
  for (;;) {
    (void)!write(1, "tick\n", 5);
    usleep(1000);
  }
}
