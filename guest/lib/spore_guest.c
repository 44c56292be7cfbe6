// The client of the agent's fixture socket (guest/agent/fixture.h). The answer is one line of JSON
// from the agent, which is trusted; lengths are checked all the same.
#include "spore_guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { kLineSize = 16 * 1024, kMaxCallbacks = 64 };

// A variable of the environment, so that a test can play the agent.
static const char* const kSocketVariable = "SPORE_AGENT_SOCKET";
static const char* const kSocketPath = "/run/spore/agent.sock";
static const char* const kAlone =
    "{\"number\":0,\"child_index\":0,\"child_count\":1,\"shard_index\":0,\"shard_count\":1,"
    "\"user\":{}}";

static struct {
  spore_generation_callback function;
  void* argument;
} callbacks[kMaxCallbacks];
static size_t callback_count;

// ---- a reader for the agent's JSON
// ----------------------------------------------------------------

static const char* skip_space(const char* at) {
  while (*at == ' ' || *at == '\t' || *at == '\n') {
    ++at;
  }
  return at;
}

static unsigned hex_value(const char* digits) {
  unsigned value = 0;
  for (int i = 0; i < 4; ++i) {
    const char digit = digits[i];
    const char* const all = "0123456789abcdef";
    const char* const found = digit == '\0' ? NULL : strchr(all, digit | 0x20);
    if (found == NULL) {
      return 0;
    }
    value = value * 16 + (unsigned)(found - all);
  }
  return value;
}

static size_t put_utf8(unsigned code, char* out) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  if (code < 0x800) {
    out[0] = (char)(0xc0 | (code >> 6));
    out[1] = (char)(0x80 | (code & 0x3f));
    return 2;
  }
  out[0] = (char)(0xe0 | (code >> 12));
  out[1] = (char)(0x80 | ((code >> 6) & 0x3f));
  out[2] = (char)(0x80 | (code & 0x3f));
  return 3;
}

// Reads the string whose opening quote is at `at` into `out` (as much as fits, always terminated);
// *length is its whole length. Returns what follows it, or NULL. The agent escapes only what JSON
// requires, so no surrogate pairs come.
static const char* read_string(const char* at, char* out, size_t size, size_t* length) {
  size_t used = 0;
  if (*at != '"') {
    return NULL;
  }
  for (++at; *at != '"'; ++at) {
    char bytes[4] = {*at, 0, 0, 0};
    size_t count = 1;
    if (*at == '\0') {
      return NULL;
    }
    if (*at == '\\') {
      static const char kNames[] = "\"\\/bfnrt";
      static const char kValues[] = "\"\\/\b\f\n\r\t";
      ++at;
      const char* const found = *at == '\0' ? NULL : strchr(kNames, *at);
      if (found != NULL) {
        bytes[0] = kValues[found - kNames];
      } else if (*at == 'u' && strlen(at) > 4) {
        count = put_utf8(hex_value(at + 1), bytes);
        at += 4;
      } else {
        return NULL;
      }
    }
    for (size_t i = 0; i < count; ++i, ++used) {
      if (used + 1 < size) {
        out[used] = bytes[i];
      }
    }
  }
  if (size > 0) {
    out[used < size ? used : size - 1] = '\0';
  }
  *length = used;
  return at + 1;
}

// Returns what follows the value at `at`, or NULL.
static const char* skip_value(const char* at) {
  int depth = 0;
  size_t ignored = 0;
  do {
    at = skip_space(at);
    if (*at == '\0') {
      return NULL;
    }
    if (*at == '"') {
      at = read_string(at, NULL, 0, &ignored);
      if (at == NULL) {
        return NULL;
      }
      continue;
    }
    depth += *at == '{' || *at == '[';
    depth -= *at == '}' || *at == ']';
    ++at;
  } while (depth > 0 || (*skip_space(at) != ',' && *skip_space(at) != '}'));
  return at;
}

// The value of `key` in the object at `at`, or NULL.
static const char* find_value(const char* at, const char* key) {
  char name[256];
  size_t length = 0;
  at = skip_space(at);
  if (*at != '{') {
    return NULL;
  }
  do {
    at = read_string(skip_space(at + 1), name, sizeof(name), &length);
    if (at == NULL) {
      return NULL;
    }
    at = skip_space(at);
    if (*at != ':') {
      return NULL;
    }
    at = skip_space(at + 1);
    if (length < sizeof(name) && strcmp(name, key) == 0) {
      return at;
    }
    at = skip_value(at);
    at = at == NULL ? NULL : skip_space(at);
  } while (at != NULL && *at == ',');
  return NULL;
}

static void get_text(const char* json, const char* key, char* out, size_t size) {
  size_t length = 0;
  const char* const value = find_value(json, key);
  out[0] = '\0';
  if (value != NULL && read_string(value, out, size, &length) == NULL) {
    out[0] = '\0';
  }
}

static uint64_t get_number(const char* json, const char* key, uint64_t otherwise) {
  const char* const value = find_value(json, key);
  return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static void parse_generation(const char* json, struct spore_generation* out) {
  out->number = get_number(json, "number", 0);
  get_text(json, "id", out->id, sizeof(out->id));
  get_text(json, "parent_id", out->parent_id, sizeof(out->parent_id));
  get_text(json, "name", out->name, sizeof(out->name));
  get_text(json, "hostname", out->hostname, sizeof(out->hostname));
  get_text(json, "mac", out->mac, sizeof(out->mac));
  out->child_index = (uint32_t)get_number(json, "child_index", 0);
  out->child_count = (uint32_t)get_number(json, "child_count", 1);
  out->shard_index = (uint32_t)get_number(json, "shard_index", 0);
  out->shard_count = (uint32_t)get_number(json, "shard_count", 1);
}

// ---- the socket
// -----------------------------------------------------------------------------------

// A connection to the agent; -1 with errno set. ENOENT and ECONNREFUSED: this is no machine.
static int connect_to_agent(void) {
  const char* const named = getenv(kSocketVariable);
  const char* const path = named != NULL ? named : kSocketPath;
  struct sockaddr_un address;
  memset(&address, 0, sizeof(address));
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(address.sun_path, path, strlen(path));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return -1;
  }
  while (connect(fd, (const struct sockaddr*)&address, sizeof(address)) != 0) {
    if (errno != EINTR) {
      const int error_number = errno;
      close(fd);
      errno = error_number;
      return -1;
    }
  }
  return fd;
}

// Reads up to the end of the line. 0, or -1 with errno set.
static int read_line(int fd, char* line, size_t size) {
  size_t used = 0;
  while (used == 0 || line[used - 1] != '\n') {
    const ssize_t got = read(fd, line + used, size - 1 - used);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      errno = got == 0 ? ECONNRESET : errno;
      return -1;
    }
    used += (size_t)got;
  }
  line[used] = '\0';
  return 0;
}

// Sends one request and fills `line` (kLineSize) with the answer. 0, or -1 with errno set.
static int ask(const char* request, char* line) {
  const int fd = connect_to_agent();
  if (fd < 0) {
    if (errno != ENOENT && errno != ECONNREFUSED) {
      return -1;
    }
    strcpy(line, kAlone);
    return 0;
  }
  int result = -1;
  if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request)) {
    result = read_line(fd, line, kLineSize);
  }
  const int error_number = errno;
  close(fd);
  errno = error_number;
  return result;
}

// ---- the API
// --------------------------------------------------------------------------------------

int spore_generation_get(struct spore_generation* out) {
  char line[kLineSize];
  if (ask("generation\n", line) != 0) {
    return -1;
  }
  parse_generation(line, out);
  return 0;
}

int spore_fixture_point(struct spore_generation* out) {
  char line[kLineSize];
  struct spore_generation before;
  struct spore_generation after;
  if (spore_generation_get(&before) != 0) {
    return -1;
  }
  fflush(NULL);
  if (ask("fixture-point\n", line) != 0) {
    return -1;
  }
  parse_generation(line, &after);
  if (after.number != before.number) {
    for (size_t i = 0; i < callback_count; ++i) {
      callbacks[i].function(&after, callbacks[i].argument);
    }
  }
  if (out != NULL) {
    *out = after;
  }
  return 0;
}

int spore_failure_point(void) {
  char line[kLineSize];
  struct spore_generation before;
  struct spore_generation after;
  if (spore_generation_get(&before) != 0 || ask("fixture-point\n", line) != 0) {
    return -1;
  }
  parse_generation(line, &after);
  return after.number != before.number;
}

long spore_generation_user(const char* key, char* buffer, size_t size) {
  char line[kLineSize];
  size_t length = 0;
  if (ask("generation\n", line) != 0) {
    return -1;
  }
  const char* const user = find_value(line, "user");
  const char* const value = user == NULL ? NULL : find_value(user, key);
  if (value == NULL || read_string(value, buffer, size, &length) == NULL) {
    errno = ENOENT;
    return -1;
  }
  return (long)length;
}

int spore_on_generation(spore_generation_callback callback, void* argument) {
  if (callback_count == kMaxCallbacks) {
    errno = ENOMEM;
    return -1;
  }
  callbacks[callback_count].function = callback;
  callbacks[callback_count].argument = argument;
  ++callback_count;
  return 0;
}
