/* Call stacks, and files as memory, for profiles and the audit. See platform.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "platform.h"

#include <fcntl.h>
#include <sys/stat.h>
#if defined(__has_include)
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_BACKTRACE 1
#endif
#endif

_Alignas(128) unsigned char belaycore_sampler_storage[BELAYCORE_SAMPLER_BYTES];

/* By the unwind tables, which every program has, and not by frame pointers, which C compilers leave out when they
 * optimise: a walk along those would end at, or lie about, the first function that has none. libc loads the unwinder
 * when it is first asked; nothing is linked for it. A libc without backtrace() gives no stacks. */
__attribute__((noinline)) int32_t belaycore_stack(void **frames, int32_t most) {
#ifdef HAVE_BACKTRACE
    int saved = errno, found = backtrace(frames, most);
    errno = saved;
    return found;
#else
    (void)frames, (void)most;
    return 0;
#endif
}

void *belaycore_map_file(const char *path, size_t *bytes) {
    int saved = errno, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe in its place is no file, nor waited for
    void *p = MAP_FAILED;
    struct stat about;
    if (fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0) {
        *bytes = (size_t)about.st_size;
        p = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (fd >= 0) close(fd);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

size_t belaycore_read_file(const char *path, void *bytes, size_t room) {
    int saved = errno, fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    while (fd >= 0 && have < room) {
        ssize_t more = read(fd, (char *)bytes + have, room - have);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) break;
        have += (size_t)more;
    }
    if (fd >= 0) close(fd);
    errno = saved;
    return have;
}

void belaycore_watch_exit(void) { (void)atexit(belaycore_process_ends); }
