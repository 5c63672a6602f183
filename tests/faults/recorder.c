/* Records what a server does to its data file, and what it tells its clients, in one order.
 *
 * Preloaded into the server (LD_PRELOAD) by crash_states.py, which compiles it. The record is made
 * when a write or sync has returned, and before an answer leaves, so that nothing is told in it
 * before it happened, nor after it was told.
 *
 *   entry: kind u8, dsync u8, 6 bytes 0, offset u64, length u64, then the bytes
 *   W  bytes at an offset of the data file; dsync: durable when it returned. What is in the file
 *      when it is opened, which was synced under another name, counts as such
 *   S  a sync of the data file returned
 *   A  bytes that go out through a socket
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
enum { OTHER, DATA, DATA_DSYNC, SOCKET };

static unsigned char kinds[FDS]; /* of the data file's descriptors; all others are asked about */
static int out = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("RECORD");
    if (path) out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int kind_of(int fd) {
    struct stat found;
    if (out < 0 || fd < 0 || fd >= FDS) return OTHER;
    if (kinds[fd] != OTHER) return kinds[fd];
    return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode) ? SOCKET : OTHER;
}

static void put(const void *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t done = syscall(SYS_write, out, data, bytes);
        if (done <= 0) abort();
        data = (const char *)data + done;
        bytes -= done;
    }
}

static void note(char kind, int dsync, uint64_t offset, const struct iovec *parts, int count,
                 uint64_t length) {
    unsigned char head[24] = {kind, dsync};
    memcpy(head + 8, &offset, 8);
    memcpy(head + 16, &length, 8);
    pthread_mutex_lock(&order);
    put(head, sizeof head);
    for (int at = 0; at < count && length > 0; at++) {
        size_t bytes = parts[at].iov_len < length ? parts[at].iov_len : length;
        put(parts[at].iov_base, bytes);
        length -= bytes;
    }
    pthread_mutex_unlock(&order);
}

static uint64_t length_of(const struct iovec *parts, int count) {
    uint64_t length = 0;
    for (int at = 0; at < count; at++) length += parts[at].iov_len;
    return length;
}

#define REAL(type, name, ...)                            \
    static type (*real)(__VA_ARGS__);                    \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* Only the file under its last name: one that is made anew is written beside it, and renamed. */
static int is_data(const char *path) {
    const char *wanted = getenv("RECORD_OF");
    return out >= 0 && wanted && strcmp(path, wanted) == 0;
}

static void note_content(int fd) {
    struct stat found;
    struct iovec part;
    if (fstat(fd, &found) != 0 || found.st_size == 0) return;
    part.iov_len = found.st_size;
    part.iov_base = malloc(part.iov_len);
    if (!part.iov_base || pread(fd, part.iov_base, part.iov_len, 0) != found.st_size) abort();
    note('W', 1, 0, &part, 1, part.iov_len);
    free(part.iov_base);
}

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < FDS) {
        kinds[fd] = !is_data(path) ? OTHER : flags & O_DSYNC ? DATA_DSYNC : DATA;
        if (kinds[fd] == DATA) note_content(fd);
    }
    return fd;
}

int open(const char *path, int flags, ...) {
    REAL(int, open, const char *, int, ...);
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return opened(real(path, flags, mode), path, flags);
}

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < FDS) kinds[fd] = OTHER;
    return real(fd);
}

static ssize_t wrote(int fd, off_t offset, const struct iovec *parts, int count, ssize_t done) {
    int kind = kind_of(fd);
    if (done > 0 && (kind == DATA || kind == DATA_DSYNC))
        note('W', kind == DATA_DSYNC, offset, parts, count, done);
    return done;
}

static void telling(int fd, const struct iovec *parts, int count) {
    if (kind_of(fd) == SOCKET) note('A', 0, 0, parts, count, length_of(parts, count));
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    struct iovec part = {(void *)data, bytes};
    return wrote(fd, offset, &part, 1, real(fd, data, bytes, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    int kind = kind_of(fd);
    telling(fd, parts, count);
    off_t offset = kind == DATA || kind == DATA_DSYNC ? lseek(fd, 0, SEEK_CUR) : 0;
    return wrote(fd, offset, parts, count, real(fd, parts, count));
}

ssize_t write(int fd, const void *data, size_t bytes) {
    REAL(ssize_t, write, int, const void *, size_t);
    struct iovec part = {(void *)data, bytes};
    int kind = kind_of(fd);
    telling(fd, &part, 1);
    off_t offset = kind == DATA || kind == DATA_DSYNC ? lseek(fd, 0, SEEK_CUR) : 0;
    return wrote(fd, offset, &part, 1, real(fd, data, bytes));
}

ssize_t send(int fd, const void *data, size_t bytes, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    struct iovec part = {(void *)data, bytes};
    telling(fd, &part, 1);
    return real(fd, data, bytes, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    telling(fd, message->msg_iov, message->msg_iovlen);
    return real(fd, message, flags);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    int code = real(fd), kind = kind_of(fd);
    if (code == 0 && (kind == DATA || kind == DATA_DSYNC)) note('S', 0, 0, NULL, 0, 0);
    return code;
}
