/* Both ends in one process, which differ from two processes in nothing but that neither can die
 * alone. */
#ifndef PAIR_H
#define PAIR_H

#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct pair {
    const char *name;
    /* One for each thread that joins. */
    brigade_options *readers, *writers;
    brigade_reader *reader;
    brigade_writer *writer;
};

static void *join_as_writer(void *context)
{
    struct pair *pair = context;
    OK(brigade_join(pair->name, pair->writers, NULL, &pair->writer));
    return NULL;
}

static brigade_options *options_of(size_t size, size_t count)
{
    brigade_options *options = brigade_options_new();
    OK(brigade_options_blocks(options, size, count));
    OK(brigade_options_wait(options, LIMIT_MS));
    return options;
}

/* With count blocks of size bytes. */
static struct pair new_pair(const char *name, size_t size, size_t count)
{
    struct pair pair = {name, options_of(size, count), options_of(size, count), NULL, NULL};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, join_as_writer, &pair) == 0);
    OK(brigade_join(name, pair.readers, &pair.reader, NULL));
    CHECK(pthread_join(thread, NULL) == 0);
    return pair;
}

static void free_pair(struct pair *pair)
{
    brigade_reader_free(pair->reader);
    brigade_writer_free(pair->writer);
    brigade_options_free(pair->readers);
    brigade_options_free(pair->writers);
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
