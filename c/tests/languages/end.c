/* One end of a session whose other end may be of another language: end reader|writer NAME [STOP].
 *
 * end.py and end.rs are the same program, and say the same. With STOP it stops once so many blocks
 * were sent, or drained, until it gets a line: to be killed there, or while its partner is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brigade.h"

#define SIZE 1000
#define COUNT 1000
#define LIMIT_MS 60000

/* What has passed, as a number of things, a number of bytes, and a checksum (FNV-1a). */
struct sum {
    uint64_t count, bytes, hash;
};

#define NO_SUM {0, 0, 0xCBF29CE484222325}

static struct sum blocks = NO_SUM;

static void add_byte(struct sum *sum, uint8_t byte)
{
    sum->hash = (sum->hash ^ byte) * 0x100000001B3;
}

static void add(struct sum *sum, uint64_t tag, uint16_t kind, uint8_t more, const uint8_t *data,
                size_t len)
{
    sum->count++;
    sum->bytes += len;
    for (int shift = 0; shift < 64; shift += 8)
        add_byte(sum, (uint8_t)(tag >> shift));
    add_byte(sum, (uint8_t)kind);
    add_byte(sum, (uint8_t)(kind >> 8));
    add_byte(sum, more);
    for (size_t index = 0; index < len; index++)
        add_byte(sum, data[index]);
}

static void print(const char *what, const struct sum *sum)
{
    printf("%s: %" PRIu64 ", %" PRIu64 " bytes, %016" PRIx64 "\n", what, sum->count, sum->bytes,
           sum->hash);
}

static void check(int status)
{
    if (status == BRIGADE_OK)
        return;
    print("blocks", &blocks);
    printf("error: %d, delivered: %" PRIu64 "\n", status, brigade_last_error()->delivered.blocks);
    exit(1);
}

static void fill(uint8_t *data, uint64_t number, size_t len)
{
    for (size_t index = 0; index < len; index++)
        data[index] = (uint8_t)(7 * number + 3 * index);
}

static void stop_at(uint64_t number, long stop)
{
    if ((long)number == stop) {
        puts("stopped");
        fflush(stdout);
        getchar();
    }
}

/* Of the one end that there is. */
static void post(brigade_reader *reader, brigade_writer *writer, uint64_t number,
                 struct sum *posted)
{
    uint8_t data[BRIGADE_LETTER_MAX];
    uint16_t kind = (uint16_t)number;
    size_t len = number % (BRIGADE_LETTER_MAX + 1);
    fill(data, number, len);
    check(reader != NULL ? brigade_reader_post(reader, LIMIT_MS, kind, data, len)
                         : brigade_writer_post(writer, LIMIT_MS, kind, data, len));
    add(posted, 0, kind, 0, data, len);
}

static struct sum hear(brigade_reader *reader, brigade_writer *writer)
{
    struct sum heard = NO_SUM;
    brigade_letter letter;
    int status;
    while ((status = reader != NULL ? brigade_reader_letter(reader, LIMIT_MS, &letter)
                                    : brigade_writer_letter(writer, LIMIT_MS, &letter)) !=
           BRIGADE_END) {
        check(status);
        add(&heard, 0, letter.kind, 0, letter.bytes, letter.len);
    }
    return heard;
}

static void tell(const struct sum *posted, const struct sum *heard,
                 const brigade_delivered *delivered)
{
    print("blocks", &blocks);
    print("posted", posted);
    print("heard", heard);
    printf("delivered: %" PRIu64 ", %" PRIu64 " bytes\n", delivered->blocks, delivered->bytes);
}

static void send_all(brigade_reader *reader, long stop)
{
    struct sum posted = NO_SUM, heard;
    brigade_delivered delivered;
    for (uint64_t number = 0; number < COUNT; number++) {
        brigade_empty_block block;
        size_t len = number * 379 % (SIZE + 1);
        stop_at(number, stop);
        check(brigade_reader_empty_block(reader, LIMIT_MS, &block));
        fill(block.data, number, len);
        block.tag = number * 0x9E3779B97F4A7C15;
        block.kind = (uint16_t)(number * 257);
        block.more = number % 3 == 1;
        add(&blocks, block.tag, block.kind, block.more, block.data, len);
        check(brigade_reader_send(reader, &block, len));
        if (number % 100 == 99)
            post(reader, NULL, number, &posted);
    }
    check(brigade_reader_close(reader));
    heard = hear(reader, NULL);
    check(brigade_reader_verdict(reader, LIMIT_MS, &delivered));
    tell(&posted, &heard, &delivered);
}

static void drain_all(brigade_writer *writer, long stop)
{
    struct sum posted = NO_SUM, heard;
    brigade_delivered delivered;
    brigade_data_block block;
    int status;
    while ((status = brigade_writer_data_block(writer, LIMIT_MS, &block)) != BRIGADE_END) {
        check(status);
        add(&blocks, block.tag, block.kind, block.more, block.data, block.len);
        check(brigade_writer_done(writer, &block));
        if (blocks.count % 100 == 0)
            post(NULL, writer, blocks.count, &posted);
        stop_at(blocks.count, stop);
    }
    heard = hear(NULL, writer);
    check(brigade_writer_finish(writer, &delivered));
    tell(&posted, &heard, &delivered);
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    long stop = count > 3 ? atol(arguments[3]) : -1;
    brigade_options *options = brigade_options_new();
    brigade_reader *reader = NULL;
    brigade_writer *writer = NULL;
    check(brigade_options_blocks(options, SIZE, 8));
    check(brigade_options_wait(options, LIMIT_MS));
    if (strcmp(arguments[1], "reader") == 0) {
        check(brigade_join(arguments[2], options, &reader, NULL));
        send_all(reader, stop);
    } else {
        check(brigade_join(arguments[2], options, NULL, &writer));
        drain_all(writer, stop);
    }
    brigade_reader_free(reader);
    brigade_writer_free(writer);
    brigade_options_free(options);
    return 0;
}
