/* libspore_guest: what a program that runs in a Spore machine can ask about it, and the fixture
 * point. Plain C99; no other library is needed.
 *
 *   prepare_expensive_things();
 *   struct spore_generation self;
 *   spore_fixture_point(&self);          // from here on there may be many of us
 *   run_tests(self.shard_index, self.shard_count);
 *
 * Outside a machine every call works and says: index 0 of 1. To be called by one thread at a time.
 */
#ifndef SPORE_GUEST_H
#define SPORE_GUEST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which machine this is. Strings end with NUL; they are empty outside a machine. */
struct spore_generation {
  uint64_t number;    /* 0 after a boot, its parent's + 1 after a fork */
  char id[33];        /* 32 hexadecimal digits, different in every machine */
  char parent_id[33]; /* of the machine that was captured; empty after a boot */
  char name[65];
  char hostname[65];
  char mac[18];         /* "02:00:00:00:00:01" */
  uint32_t child_index; /* which of the child_count machines of one fork() */
  uint32_t child_count;
  uint32_t shard_index; /* which part of the work is this machine's */
  uint32_t shard_count;
};

/* Reports that the set-up is done and waits until the machine is forked, or told to go on alone.
 * Returns in every child, each with its own entropy, clock and identity, with `out` (may be NULL)
 * saying which one. C streams are flushed first, so that no child repeats buffered output.
 * Returns 0, or -1 with errno set when the agent went away. */
int spore_fixture_point(struct spore_generation* out);

/* The moment of a failure: waits while the host captures the machine, if it wants to keep it. 0: go
 * on. 1: this is a machine that was made from what was kept, for somebody who looks into it. -1
 * with errno set when the agent went away. Flushes nothing; may be called in a signal handler that
 * has a stack of 64 KiB. */
int spore_failure_point(void);

/* The generation now. 0, or -1 with errno set. */
int spore_generation_get(struct spore_generation* out);

/* The value of one of the fork's user parameters, as a NUL-terminated string of at most size - 1
 * bytes. Returns its whole length, or -1 if there is no such parameter (errno ENOENT). */
long spore_generation_user(const char* key, char* buffer, size_t size);

/* Calls `callback` within spore_fixture_point() when it returns in a new generation, in the order
 * of registration: the place to reseed a generator in user space or to open connections anew.
 * Returns 0, or -1 with errno ENOMEM after 64 of them. */
typedef void (*spore_generation_callback)(const struct spore_generation* generation,
                                          void* argument);
int spore_on_generation(spore_generation_callback callback, void* argument);

#ifdef __cplusplus
}
#endif

#endif /* SPORE_GUEST_H */
