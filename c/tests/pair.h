/* Both ends in one process, which differ from two processes in nothing but that neither can die
 * alone. */
#ifndef PAIR_H
#define PAIR_H

#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct pair {
    const char *name;
    brigade_options *options;
    brigade_reader *reader;
    brigade_writer *writer;
};

static void *join_as_writer(void *context)
{
    struct pair *pair = context;
    OK(brigade_join(pair->name, pair->options, NULL, &pair->writer));
    return NULL;
}

/* With count blocks of size bytes. */
static struct pair new_pair(const char *name, size_t size, size_t count)
{
    struct pair pair = {name, brigade_options_new(), NULL, NULL};
    pthread_t thread;
    OK(brigade_options_blocks(pair.options, size, count));
    OK(brigade_options_wait(pair.options, LIMIT_MS));
    CHECK(pthread_create(&thread, NULL, join_as_writer, &pair) == 0);
    OK(brigade_join(name, pair.options, &pair.reader, NULL));
    CHECK(pthread_join(thread, NULL) == 0);
    return pair;
}

static void free_pair(struct pair *pair)
{
    brigade_reader_free(pair->reader);
    brigade_writer_free(pair->writer);
    brigade_options_free(pair->options);
}

/* The end, as it should be. */
static inline void finish_pair(struct pair *pair)
{
    brigade_data_block block;
    OK(brigade_reader_close(pair->reader));
    EXPECT(BRIGADE_END, brigade_writer_data_block(pair->writer, LIMIT_MS, &block));
    OK(brigade_writer_finish(pair->writer, NULL));
    OK(brigade_reader_verdict(pair->reader, LIMIT_MS, NULL));
    free_pair(pair);
}

#endif
