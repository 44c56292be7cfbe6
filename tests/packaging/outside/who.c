// Which machine this is: a C program with libspore_guest, static or shared.
#include <spore_guest.h>
#include <stdio.h>

int main(void) {
  struct spore_generation self;
  if (spore_fixture_point(&self) != 0) {
    perror("spore_fixture_point");
    return 1;
  }
  printf("index %u of %u\n", (unsigned)self.shard_index, (unsigned)self.shard_count);
  return 0;
}
