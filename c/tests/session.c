/* A whole session of two processes: all that passes between the two ends. */
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define SIZE 100
#define COUNT 4
#define SENT 1000

static brigade_options *options(const char *greeting)
{
    brigade_options *options = brigade_options_new();
    OK(brigade_options_blocks(options, SIZE, COUNT));
    OK(brigade_options_wait(options, LIMIT_MS));
    OK(brigade_options_greeting(options, (const uint8_t *)greeting, strlen(greeting)));
    return options;
}

/* Sleeps in poll() until the Reader may have something of what is waited for. */
static void sleep_until(brigade_reader *reader, int interests)
{
    brigade_handle handle;
    int is_armed;
    OK(brigade_reader_arm(reader, interests, &is_armed));
    if (is_armed) {
        OK(brigade_reader_handle(reader, &handle));
        struct pollfd polled = {handle, POLLIN, 0};
        CHECK(poll(&polled, 1, LIMIT_MS) == 1);
        OK(brigade_reader_disarm(reader));
    }
}

static void send_one(brigade_reader *reader, int number)
{
    brigade_empty_block block;
    int found;
    while ((found = brigade_reader_empty_block(reader, BRIGADE_NO_WAIT, &block)) ==
           BRIGADE_TIMED_OUT)
        sleep_until(reader, BRIGADE_WAIT_BLOCKS);
    OK(found);
    CHECK(block.len == SIZE && (uintptr_t)block.data % 64 == 0);
    CHECK(block.tag == 0 && block.kind == 0 && block.more == 0);
    size_t len = (size_t)number % (SIZE + 1);
    memset(block.data, number, len);
    block.tag = (uint64_t)number << 33;
    block.kind = (uint16_t)(number + 1);
    block.more = number % 3 == 0;
    OK(brigade_reader_send(reader, &block, len));
    CHECK(block.data == NULL);
}

static void check_one(const brigade_data_block *block, int number)
{
    CHECK(block->len == (size_t)number % (SIZE + 1));
    CHECK(block->tag == (uint64_t)number << 33);
    CHECK(block->kind == (uint16_t)(number + 1));
    CHECK(block->more == (number % 3 == 0));
    for (size_t index = 0; index < block->len; index++)
        CHECK(block->data[index] == (uint8_t)number);
}

static void read_all(const char *name)
{
    brigade_options *chosen = options("from the reader");
    brigade_reader *reader;
    brigade_writer *writer;
    OK(brigade_options_side(chosen, BRIGADE_READER));
    OK(brigade_join(name, chosen, &reader, &writer));
    CHECK(reader != NULL && writer == NULL);
    brigade_options_free(chosen);
    CHECK(brigade_reader_block_size(reader) == SIZE);
    CHECK(brigade_reader_block_count(reader) == COUNT);
    CHECK(brigade_reader_epoch(reader) == 1);

    brigade_partner partner;
    OK(brigade_reader_partner(reader, &partner));
    CHECK(partner.side == BRIGADE_WRITER && partner.is_own_user == 1);
    CHECK(partner.user_id == (int64_t)getuid() && partner.user[0] != '\0');
    CHECK(partner.process_id > 0 && partner.process_id != (uint32_t)getpid());
    CHECK(partner.greeting_len == 15 && memcmp(partner.greeting, "from the writer", 15) == 0);
    OK(brigade_reader_check(reader));

    /* Several at once, the last one first, and one that is not used. */
    brigade_empty_block blocks[COUNT];
    for (int index = 0; index < COUNT; index++)
        OK(brigade_reader_empty_block(reader, BRIGADE_FOREVER, &blocks[index]));
    EXPECT(BRIGADE_TIMED_OUT, brigade_reader_empty_block(reader, 1, &blocks[0]));
    CHECK(blocks[0].data == NULL);
    for (int index = COUNT; --index > 0;) {
        blocks[index].data[0] = (uint8_t)index;
        OK(brigade_reader_send(reader, &blocks[index], 1));
    }
    for (int number = 0; number < SENT; number++)
        send_one(reader, number);

    brigade_letter letter;
    OK(brigade_reader_post(reader, LIMIT_MS, 7, (const uint8_t *)"where?", 6));
    int found;
    while ((found = brigade_reader_letter(reader, BRIGADE_NO_WAIT, &letter)) == BRIGADE_TIMED_OUT)
        sleep_until(reader, BRIGADE_WAIT_LETTERS);
    OK(found);
    CHECK(letter.kind == 8 && letter.len == 4 && memcmp(letter.bytes, "here", 4) == 0);
    EXPECT(BRIGADE_TIMED_OUT, brigade_reader_letter(reader, BRIGADE_NO_WAIT, &letter));

    EXPECT(BRIGADE_INVALID_USE, brigade_reader_verdict(reader, BRIGADE_NO_WAIT, NULL));
    OK(brigade_reader_close(reader));
    brigade_delivered delivered;
    while ((found = brigade_reader_verdict(reader, BRIGADE_NO_WAIT, &delivered)) ==
           BRIGADE_TIMED_OUT)
        sleep_until(reader, BRIGADE_WAIT_VERDICT);
    OK(found);
    CHECK(delivered.blocks == SENT + COUNT - 1);
    OK(brigade_reader_delivered(reader, &delivered));
    CHECK(delivered.blocks == SENT + COUNT - 1);
    EXPECT(BRIGADE_END, brigade_reader_letter(reader, LIMIT_MS, &letter));
    brigade_reader_free(reader);
}

static void write_all(const char *name)
{
    brigade_options *chosen = options("from the writer");
    brigade_writer *writer;
    OK(brigade_join(name, chosen, NULL, &writer));
    brigade_options_free(chosen);

    brigade_monitor *monitor;
    brigade_progress progress;
    OK(brigade_writer_monitor(writer, &monitor));
    OK(brigade_monitor_set_figure(monitor, 3, 42));
    OK(brigade_monitor_progress(monitor, &progress));
    CHECK(progress.figures[3] == 42 && progress.partner_figures[3] == 0);
    EXPECT(BRIGADE_TIMED_OUT, brigade_monitor_watch(monitor, 1));

    brigade_data_block block;
    for (int index = COUNT; --index > 0;) {
        OK(brigade_writer_data_block(writer, LIMIT_MS, &block));
        CHECK(block.len == 1 && block.data[0] == index);
        OK(brigade_writer_done(writer, &block));
    }
    /* In pairs, given back the other way round. */
    for (int number = 0; number < SENT; number += 2) {
        brigade_data_block other;
        OK(brigade_writer_data_block(writer, LIMIT_MS, &block));
        OK(brigade_writer_data_block(writer, LIMIT_MS, &other));
        check_one(&block, number);
        check_one(&other, number + 1);
        OK(brigade_writer_done(writer, &other));
        OK(brigade_writer_done(writer, &block));
        CHECK(block.data == NULL);
    }

    brigade_letter letter;
    OK(brigade_writer_letter(writer, LIMIT_MS, &letter));
    CHECK(letter.kind == 7 && letter.len == 6 && memcmp(letter.bytes, "where?", 6) == 0);
    OK(brigade_writer_post(writer, LIMIT_MS, 8, (const uint8_t *)"here", 4));

    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, LIMIT_MS, &block));
    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, BRIGADE_NO_WAIT, &block));
    EXPECT(BRIGADE_END, brigade_writer_letter(writer, LIMIT_MS, &letter));
    brigade_delivered delivered;
    OK(brigade_writer_finish(writer, &delivered));
    CHECK(delivered.blocks == SENT + COUNT - 1);
    OK(brigade_monitor_watch(monitor, LIMIT_MS));
    brigade_writer_free(writer);
    OK(brigade_monitor_progress(monitor, &progress));
    CHECK(progress.delivered.blocks == delivered.blocks && progress.blocks_under_way == 0);
    brigade_monitor_free(monitor);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        write_all(arguments[1]);
        return 0;
    }
    read_all(arguments[1]);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}
