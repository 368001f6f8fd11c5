/* The ring as a C program sees it, for `--against`: measure brigade SIZE COUNT, as the benchmark
 * itself does it, through the shared library. Built and run by c.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "brigade.h"

/* As in src/throughput.rs. */
#define POOL (4u << 20)
#define BLOCKS_MAX 1024u

static void check(int status)
{
    if (status != BRIGADE_OK) {
        fprintf(stderr, "ring: %s\n", brigade_last_error()->text);
        exit(1);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Where the program's own bytes lie is worth more than all else at 4096 bytes (83 ns a block on a
 * cache line, 94 beside one): in the middle of a page, as those of the Rust program. Never freed. */
static uint8_t *new_bytes(size_t size)
{
    size_t pages = (size + 2 * 4096) / 4096 * 4096;
    return (uint8_t *)memset(aligned_alloc(4096, pages), 7, pages) + 2048;
}

/* What the compiler must not look into: as Rust's `black_box`. */
static void *opaque(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

/* By the C library, as in the Rust program: compilers for C make less of 4096 bytes (`rep movs`). A
 * cache line is a few instructions in both. */
static void *(*volatile library_copy)(void *, const void *, size_t) = memcpy;

#define COPY(to, from, SIZE)                                                                       \
    ((SIZE) <= 64 ? memcpy(to, from, SIZE) : library_copy(to, from, SIZE))

/* With a size that the compiler knows. */
#define WITH_SIZE(size, call)                                                                      \
    switch (size) {                                                                                \
    case 64:                                                                                       \
        call(64);                                                                                  \
        break;                                                                                     \
    case 4096:                                                                                     \
        call(4096);                                                                                \
        break;                                                                                     \
    case 65536:                                                                                    \
        call(65536);                                                                               \
        break;                                                                                     \
    case 1048576:                                                                                  \
        call(1048576);                                                                             \
        break;                                                                                     \
    default:                                                                                       \
        fprintf(stderr, "ring: no such block size\n");                                             \
        exit(1);                                                                                   \
    }

#define FILL(SIZE)                                                                                 \
    for (uint64_t index = 0; index < count; index++) {                                             \
        brigade_empty_block block;                                                                 \
        check(brigade_reader_empty_block(reader, BRIGADE_FOREVER, &block));                        \
        COPY(block.data, opaque(data), SIZE);                                                      \
        block.tag = index;                                                                         \
        check(brigade_reader_send(reader, &block, SIZE));                                          \
    }

#define DRAIN(SIZE)                                                                                \
    while ((status = brigade_writer_data_block(writer, BRIGADE_FOREVER, &block)) == BRIGADE_OK) {  \
        if (untimed-- == 0)                                                                        \
            start = seconds();                                                                     \
        COPY(data, block.data, SIZE);                                                              \
        opaque(data);                                                                              \
        check(brigade_writer_done(writer, &block));                                                \
    }

static void fill(const char *place, const brigade_options *options, size_t size, uint64_t count)
{
    brigade_reader *reader;
    uint8_t *data = new_bytes(size);
    check(brigade_join(place, options, &reader, NULL));
    WITH_SIZE(size, FILL)
    check(brigade_reader_finish(reader, BRIGADE_FOREVER, NULL));
    brigade_reader_free(reader);
}

/* Seconds for all but the first so many blocks. */
static double drain(const char *place, const brigade_options *options, size_t size, uint64_t untimed)
{
    brigade_writer *writer;
    brigade_data_block block;
    double start = 0;
    int status = BRIGADE_OK;
    uint8_t *data = new_bytes(size);
    check(brigade_join(place, options, NULL, &writer));
    WITH_SIZE(size, DRAIN)
    if (start == 0) {
        fprintf(stderr, "ring: not enough came\n");
        exit(1);
    }
    double took = seconds() - start;
    if (status != BRIGADE_END)
        check(status);
    check(brigade_writer_finish(writer, NULL));
    brigade_writer_free(writer);
    return took;
}

int main(int argc, char **argv)
{
    if (argc != 5 || strcmp(argv[1], "measure") != 0 || strcmp(argv[2], "brigade") != 0) {
        fprintf(stderr, "ring measure brigade SIZE COUNT\n");
        return 2;
    }
    size_t size = strtoul(argv[3], NULL, 10);
    uint64_t count = strtoull(argv[4], NULL, 10);
    size_t blocks = POOL / size < BLOCKS_MAX ? POOL / size : BLOCKS_MAX;
    char place[64];
    snprintf(place, sizeof place, "/dev/shm/brigade-ring-%d", (int)getpid());
    brigade_options *options = brigade_options_new();
    check(brigade_options_blocks(options, size, blocks));
    pid_t child = fork();
    if (child == 0) {
        fill(place, options, size, count);
        return 0;
    }
    /* As in the Rust program: until each process has a processor, and its memory. */
    uint64_t untimed = count / 3 * 2;
    double took = drain(place, options, size, untimed);
    int status;
    waitpid(child, &status, 0);
    brigade_options_free(options);
    printf("%e\n", took / (double)(count - untimed));
    return status == 0 ? 0 : 1;
}
