/* Partners that die, give up or are sent away, and others that take their places. */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static brigade_options *options(int side)
{
    brigade_options *options = brigade_options_new();
    OK(brigade_options_blocks(options, 8, 4));
    OK(brigade_options_wait(options, LIMIT_MS));
    OK(brigade_options_takeover(options, LIMIT_MS));
    OK(brigade_options_side(options, side));
    return options;
}

static brigade_reader *reader_of(const char *name)
{
    brigade_options *chosen = options(BRIGADE_READER);
    brigade_reader *reader;
    OK(brigade_join(name, chosen, &reader, NULL));
    brigade_options_free(chosen);
    return reader;
}

static brigade_writer *writer_of(const char *name)
{
    brigade_options *chosen = options(BRIGADE_WRITER);
    brigade_writer *writer;
    OK(brigade_join(name, chosen, NULL, &writer));
    brigade_options_free(chosen);
    return writer;
}

static void send_tag(brigade_reader *reader, uint64_t tag)
{
    brigade_empty_block block;
    OK(brigade_reader_empty_block(reader, LIMIT_MS, &block));
    block.tag = tag;
    memcpy(block.data, &tag, sizeof tag);
    OK(brigade_reader_send(reader, &block, sizeof tag));
}

static void take_tag(brigade_writer *writer, uint64_t tag)
{
    brigade_data_block block;
    OK(brigade_writer_data_block(writer, LIMIT_MS, &block));
    CHECK(block.tag == tag && block.len == sizeof tag && memcmp(block.data, &tag, 8) == 0);
    OK(brigade_writer_done(writer, &block));
}

/* A child that does its part and is killed, or ends well. */
static pid_t start(void (*run)(const char *name), const char *name)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run(name);
        exit(0);
    }
    return child;
}

static void lose(pid_t child)
{
    CHECK(kill(child, SIGKILL) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
}

static void end_well(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Takes one block, keeps another, says so, and waits to be killed. */
static void writer_that_is_killed(const char *name)
{
    brigade_writer *writer = writer_of(name);
    brigade_data_block block;
    take_tag(writer, 0);
    OK(brigade_writer_data_block(writer, LIMIT_MS, &block));
    OK(brigade_writer_post(writer, LIMIT_MS, 0, NULL, 0));
    sleep(LIMIT_MS / 1000);
}

static void writer_that_ends_well(const char *name)
{
    brigade_writer *writer = writer_of(name);
    brigade_data_block block;
    CHECK(brigade_writer_epoch(writer) == 2);
    take_tag(writer, 1);
    take_tag(writer, 3);
    take_tag(writer, 4);
    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, LIMIT_MS, &block));
    OK(brigade_writer_finish(writer, NULL));
    brigade_writer_free(writer);
}

static int keeps(void *context, const brigade_data_block *block)
{
    uint64_t *seen = context;
    CHECK(block->tag == ++*seen && memcmp(block->data, seen, 8) == 0);
    return block->tag != 2;
}

static void what_a_dead_writer_had_not_given_back_goes_to_the_next_one(const char *name)
{
    pid_t child = start(writer_that_is_killed, name);
    brigade_reader *reader = reader_of(name);
    brigade_letter letter;
    brigade_empty_block block, kept;
    for (uint64_t tag = 0; tag < 4; tag++)
        send_tag(reader, tag);
    OK(brigade_reader_letter(reader, LIMIT_MS, &letter));
    /* One that the Reader has when the Writer is lost: it is empty again for the next one. */
    OK(brigade_reader_empty_block(reader, LIMIT_MS, &kept));
    double before = seconds();
    lose(child);
    EXPECT(BRIGADE_PARTNER_DIED, brigade_reader_empty_block(reader, LIMIT_MS, &block));
    CHECK(brigade_last_error()->partner_process_id == (uint32_t)child);
    CHECK(brigade_last_error()->delivered.blocks == 1);
    /* Milliseconds; this only tells a death that was noticed from a limit that passed. */
    CHECK(seconds() - before < LIMIT_MS / 2000.0);

    brigade_unreturned *unreturned;
    OK(brigade_reader_into_unreturned(&reader, &unreturned));
    CHECK(reader == NULL && brigade_unreturned_count(unreturned) == 3);
    uint64_t seen = 0;
    OK(brigade_unreturned_retain(unreturned, keeps, &seen));
    CHECK(seen == 3 && brigade_unreturned_count(unreturned) == 2);
    CHECK(brigade_unreturned_is_closed(unreturned) == 0);
    OK(brigade_unreturned_reopen(unreturned));
    EXPECT(BRIGADE_INVALID_OPTION, brigade_unreturned_rejoin(unreturned, name, NULL, &reader));
    child = start(writer_that_ends_well, name);
    brigade_options *chosen = options(BRIGADE_READER);
    OK(brigade_unreturned_rejoin(unreturned, name, chosen, &reader));
    brigade_reader *again;
    EXPECT(BRIGADE_INVALID_USE, brigade_unreturned_rejoin(unreturned, name, chosen, &again));
    brigade_unreturned_free(unreturned);
    brigade_options_free(chosen);
    CHECK(brigade_reader_epoch(reader) == 2);
    send_tag(reader, 4);
    OK(brigade_reader_finish(reader, LIMIT_MS, NULL));
    brigade_reader_free(reader);
    end_well(child);
}

static void reader_that_is_killed(const char *name)
{
    brigade_reader *reader = reader_of(name);
    send_tag(reader, 1);
    send_tag(reader, 2);
    OK(brigade_reader_post(reader, LIMIT_MS, 0, NULL, 0));
    sleep(LIMIT_MS / 1000);
}

static void reader_that_ends_well(const char *name)
{
    brigade_reader *reader = reader_of(name);
    brigade_letter letter;
    uint64_t from;
    CHECK(brigade_reader_epoch(reader) == 2);
    OK(brigade_reader_letter(reader, LIMIT_MS, &letter));
    CHECK(letter.len == sizeof from);
    memcpy(&from, letter.bytes, sizeof from);
    send_tag(reader, from);
    OK(brigade_reader_finish(reader, LIMIT_MS, NULL));
    brigade_reader_free(reader);
}

static void a_writer_takes_all_that_a_dead_reader_sent_and_goes_on_with_another(const char *name)
{
    pid_t child = start(reader_that_is_killed, name);
    brigade_writer *writer = writer_of(name);
    brigade_data_block block;
    brigade_letter letter;
    OK(brigade_writer_letter(writer, LIMIT_MS, &letter));
    lose(child);
    take_tag(writer, 1);
    take_tag(writer, 2);
    EXPECT(BRIGADE_PARTNER_DIED, brigade_writer_data_block(writer, LIMIT_MS, &block));
    brigade_survivor *survivor;
    OK(brigade_writer_into_survivor(&writer, &survivor));
    CHECK(writer == NULL);
    child = start(reader_that_ends_well, name);
    brigade_options *chosen = options(BRIGADE_WRITER);
    OK(brigade_survivor_rejoin(survivor, name, chosen, &writer));
    brigade_options_free(chosen);
    brigade_survivor_free(survivor);
    uint64_t from = 3;
    OK(brigade_writer_post(writer, LIMIT_MS, 0, (const uint8_t *)&from, sizeof from));
    take_tag(writer, 3);
    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, LIMIT_MS, &block));
    OK(brigade_writer_finish(writer, NULL));
    brigade_writer_free(writer);
    end_well(child);
}

static void reader_that_gives_up(const char *name)
{
    brigade_reader *reader = reader_of(name);
    send_tag(reader, 1);
    OK(brigade_reader_abort(reader, 33, "no more film"));
    brigade_reader_free(reader);
}

static void who_gives_up_says_why_after_all_that_it_sent(const char *name)
{
    pid_t child = start(reader_that_gives_up, name);
    brigade_writer *writer = writer_of(name);
    brigade_data_block block;
    take_tag(writer, 1);
    EXPECT(BRIGADE_PARTNER_ABORTED, brigade_writer_data_block(writer, LIMIT_MS, &block));
    CHECK(brigade_last_error()->reason_code == 33);
    CHECK(strcmp(brigade_last_error()->reason, "no more film") == 0);
    CHECK(brigade_last_error()->delivered.blocks == 1);
    brigade_writer_free(writer);
    end_well(child);
}

static void writer_that_is_sent_away(const char *name)
{
    brigade_writer *writer = writer_of(name);
    brigade_data_block block;
    int found;
    while ((found = brigade_writer_data_block(writer, LIMIT_MS, &block)) == BRIGADE_OK) {
    }
    EXPECT(BRIGADE_PARTNER_ABORTED, found);
    CHECK(brigade_last_error()->reason_code == 5);
    brigade_writer_free(writer);
}

static void reader_that_is_sent_away(const char *name)
{
    brigade_reader *reader = reader_of(name);
    brigade_letter letter;
    EXPECT(BRIGADE_PARTNER_ABORTED, brigade_reader_letter(reader, LIMIT_MS, &letter));
    CHECK(strcmp(brigade_last_error()->reason, "not you") == 0);
    brigade_reader_free(reader);
}

static void who_is_not_fit_can_be_sent_away(const char *name)
{
    pid_t child = start(writer_that_is_sent_away, name);
    brigade_reader *reader = reader_of(name);
    brigade_unreturned *unreturned;
    send_tag(reader, 1);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_dismiss(&reader, 5, NULL, &unreturned));
    OK(brigade_reader_dismiss(&reader, 5, "not you", &unreturned));
    CHECK(reader == NULL && brigade_unreturned_count(unreturned) == 1);
    brigade_unreturned_free(unreturned);
    end_well(child);

    child = start(reader_that_is_sent_away, name);
    brigade_writer *writer = writer_of(name);
    brigade_survivor *survivor;
    OK(brigade_writer_dismiss(&writer, 5, "not you", &survivor));
    CHECK(writer == NULL);
    brigade_survivor_free(survivor);
    end_well(child);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    what_a_dead_writer_had_not_given_back_goes_to_the_next_one(arguments[1]);
    a_writer_takes_all_that_a_dead_reader_sent_and_goes_on_with_another(arguments[1]);
    who_gives_up_says_why_after_all_that_it_sent(arguments[1]);
    who_is_not_fit_can_be_sent_away(arguments[1]);
    return 0;
}
