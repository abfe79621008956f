/* Gives every request of h2load its own body, although h2load takes one file only.
 *
 * Loaded into h2load with LD_PRELOAD. h2load reads its `-d` file with pread for each request; this pread returns the
 * next body of OWN_BODIES, a file of bodies of OWN_BODY_SIZE bytes each, in turn. So each request has its own rows and
 * id at the same cost to the generator. A body that is read in pieces (flow control) is that of the `-d` file, since a
 * later piece cannot be assigned to a request.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*pread_function)(int, void *, size_t, off_t);

static pread_function real_pread;
static const char *bodies;
static size_t body_size, body_count;
static size_t next_body;

__attribute__((constructor)) static void open_bodies(void) {
    const char *path = getenv("OWN_BODIES"), *size = getenv("OWN_BODY_SIZE");
    struct stat facts;
    int file;
    real_pread = (pread_function)dlsym(RTLD_NEXT, "pread");
    if (!path || !size) return;
    body_size = strtoul(size, NULL, 10);
    file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &facts) != 0 || !body_size || (size_t)facts.st_size < body_size) {
        fprintf(stderr, "own_bodies: no bodies of %s bytes in %s\n", size, path);
        _exit(2);
    }
    body_count = (size_t)facts.st_size / body_size;
    bodies = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (bodies == MAP_FAILED) _exit(2);
    close(file);
}

ssize_t pread(int file, void *into, size_t count, off_t offset) {
    if (!bodies || offset != 0 || count < body_size) return real_pread(file, into, count, offset);
    size_t place = __atomic_fetch_add(&next_body, 1, __ATOMIC_RELAXED) % body_count;
    memcpy(into, bodies + place * body_size, body_size);
    return (ssize_t)body_size;
}

/* The same under the name that programs with 64-bit offsets call. */
ssize_t pread64(int file, void *into, size_t count, off_t offset) {
    return pread(file, into, count, offset);
}
