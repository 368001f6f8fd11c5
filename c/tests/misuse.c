/* What must not be done is an error, and leaves the session as it is. */
#include <sys/wait.h>

#include "pair.h"

/* One that a block of another end could be taken for. */
static void take(brigade_reader *reader, brigade_empty_block *block)
{
    OK(brigade_reader_empty_block(reader, LIMIT_MS, block));
}

static void null_is_an_error_everywhere(void)
{
    brigade_empty_block empty;
    brigade_data_block data;
    brigade_letter letter;
    brigade_handle handle;
    brigade_partner partner;
    brigade_delivered delivered;
    brigade_progress progress;
    brigade_reader *reader = NULL;
    brigade_writer *writer = NULL;
    brigade_monitor *monitor = NULL;
    brigade_seat *seat = NULL;
    brigade_owned_empty *owned_empty = NULL;
    brigade_owned_data *owned_data = NULL;
    brigade_unreturned *unreturned = NULL;
    brigade_survivor *survivor = NULL;
    size_t skipped;
    int number;
    uint32_t id;
    const char *const nothing[] = {NULL};

    EXPECT(BRIGADE_INVALID_USE, brigade_options_blocks(NULL, 1, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_side(NULL, BRIGADE_READER));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_wait(NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_greeting(NULL, NULL, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_allow_user(NULL, "0"));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_expect_process(NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_options_takeover(NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_join(NULL, NULL, &reader, &writer));
    EXPECT(BRIGADE_INVALID_USE, brigade_join("n", NULL, NULL, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_join_both_ways("n", NULL, &reader, NULL, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_accept(NULL, NULL, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_accept(NULL, &reader, &writer)); /* nobody invited */
    EXPECT(BRIGADE_INVALID_USE, brigade_invite(NULL, NULL, &id, &seat));
    EXPECT(BRIGADE_INVALID_USE, brigade_invite(NULL, nothing, &id, &seat));
    EXPECT(BRIGADE_INVALID_USE, brigade_seat_take(NULL, NULL, &seat));
    EXPECT(BRIGADE_INVALID_USE, brigade_seat_take("n", NULL, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_seat_monitor(NULL, &monitor));
    EXPECT(BRIGADE_INVALID_USE, brigade_seat_wait(NULL, &reader, &writer));
    EXPECT(BRIGADE_INVALID_USE, brigade_seat_wait(&seat, &reader, &writer));
    CHECK(brigade_seat_side(NULL) == BRIGADE_ANY_SIDE && brigade_seat_is_first(NULL) == 0);
    CHECK(brigade_reader_epoch(NULL) == 0 && brigade_writer_epoch(NULL) == 0);
    CHECK(brigade_reader_block_size(NULL) == 0 && brigade_writer_block_size(NULL) == 0);
    CHECK(brigade_reader_block_count(NULL) == 0 && brigade_writer_block_count(NULL) == 0);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_partner(NULL, &partner));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_delivered(NULL, &delivered));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_monitor(NULL, &monitor));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_empty_block(NULL, 1, &empty));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(NULL, &empty, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_give_back(NULL, &empty));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_detach(NULL, &empty, &owned_empty));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_close(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_verdict(NULL, 1, &delivered));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_finish(NULL, 1, &delivered));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_check(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_abort(NULL, 0, "why"));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_arm(NULL, BRIGADE_WAIT_BLOCKS, &number));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_disarm(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_handle(NULL, &handle));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_post(NULL, 1, 0, NULL, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_letter(NULL, 1, &letter));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_partner(NULL, &partner));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_delivered(NULL, &delivered));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_monitor(NULL, &monitor));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_data_block(NULL, 1, &data));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_newest_block(NULL, 1, &data, &skipped));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_done(NULL, &data));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_detach(NULL, &data, &owned_data));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_finish(NULL, &delivered));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_check(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_abort(NULL, 0, "why"));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_arm(NULL, BRIGADE_WAIT_BLOCKS, &number));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_disarm(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_handle(NULL, &handle));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_post(NULL, 1, 0, NULL, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_letter(NULL, 1, &letter));
    EXPECT(BRIGADE_INVALID_USE, brigade_owned_empty_look(NULL, &empty));
    EXPECT(BRIGADE_INVALID_USE, brigade_owned_empty_send(NULL, 0, 0, 0, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_owned_empty_send(&owned_empty, 0, 0, 0, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_owned_data_look(NULL, &data));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_abort(NULL, 0, "why"));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_watch(NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_progress(NULL, &progress));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_set_figure(NULL, 0, 0));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_into_unreturned(NULL, &unreturned));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_into_unreturned(&reader, &unreturned));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_dismiss(&reader, 0, "why", &unreturned));
    EXPECT(BRIGADE_INVALID_USE, brigade_unreturned_retain(NULL, NULL, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_unreturned_reopen(NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_unreturned_rejoin(NULL, "n", NULL, &reader));
    CHECK(brigade_unreturned_count(NULL) == 0 && brigade_unreturned_is_closed(NULL) == 0);
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_into_survivor(&writer, &survivor));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_dismiss(&writer, 0, "why", &survivor));
    EXPECT(BRIGADE_INVALID_USE, brigade_survivor_rejoin(NULL, "n", NULL, &writer));
    brigade_options_free(NULL);
    brigade_seat_free(NULL);
    brigade_reader_free(NULL);
    brigade_writer_free(NULL);
    brigade_owned_empty_free(NULL);
    brigade_owned_data_done(NULL);
    brigade_monitor_free(NULL);
    brigade_unreturned_free(NULL);
    brigade_survivor_free(NULL);
}

static void null_in_place_of_a_result_is_an_error(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    brigade_monitor *monitor;
    size_t skipped;
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_empty_block(pair.reader, 1, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_partner(pair.reader, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_monitor(pair.reader, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_arm(pair.reader, BRIGADE_WAIT_BLOCKS, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_handle(pair.reader, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_letter(pair.reader, 1, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_post(pair.reader, 1, 0, NULL, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_abort(pair.reader, 0, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_data_block(pair.writer, 1, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_newest_block(pair.writer, 1, NULL, &skipped));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_done(pair.writer, NULL));
    OK(brigade_reader_monitor(pair.reader, &monitor));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_progress(monitor, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_set_figure(monitor, BRIGADE_FIGURES, 1));
    brigade_monitor_free(monitor);
    finish_pair(&pair);
}

static void options_that_cannot_be_are_refused(const char *name)
{
    brigade_options *options = brigade_options_new();
    brigade_reader *reader;
    brigade_writer *writer;
    EXPECT(BRIGADE_INVALID_OPTION, brigade_options_side(options, 3));
    OK(brigade_options_blocks(options, 0, 1));
    EXPECT(BRIGADE_INVALID_OPTION, brigade_join(name, options, &reader, &writer));
    CHECK(reader == NULL && writer == NULL);
    OK(brigade_options_blocks(options, 8, 1));
    OK(brigade_options_side(options, BRIGADE_READER));
    EXPECT(BRIGADE_INVALID_USE, brigade_join(name, options, NULL, &writer));
    EXPECT(BRIGADE_INVALID_OPTION, brigade_join("\xff", options, &reader, NULL));
    EXPECT(BRIGADE_INVALID_OPTION, brigade_join("", options, &reader, NULL));
    uint8_t greeting[BRIGADE_GREETING_MAX + 1] = {0};
    OK(brigade_options_greeting(options, greeting, sizeof greeting));
    EXPECT(BRIGADE_INVALID_OPTION, brigade_join(name, options, &reader, NULL));
    OK(brigade_options_greeting(options, greeting, 3));
    OK(brigade_options_wait(options, 1));
    EXPECT(BRIGADE_NO_PARTNER, brigade_join(name, options, &reader, NULL));
    brigade_options_free(options);
}

static void a_block_is_used_up_once_and_by_its_own_end(const char *name)
{
    char second[4096];
    snprintf(second, sizeof second, "%s2", name);
    struct pair pair = new_pair(name, 8, 2), other = new_pair(second, 8, 2);
    brigade_empty_block block, copy, theirs;
    brigade_owned_empty *owned;
    take(pair.reader, &block);
    take(other.reader, &theirs);
    copy = block;
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(other.reader, &block, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_give_back(pair.reader, &theirs));
    OK(brigade_reader_send(pair.reader, &copy, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &copy, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_detach(pair.reader, &block, &owned));
    CHECK(owned == NULL);
    /* What has its place now is another one. */
    take(pair.reader, &copy);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_give_back(pair.reader, &block));
    OK(brigade_reader_give_back(pair.reader, &copy));
    OK(brigade_reader_give_back(other.reader, &theirs));
    /* A length beyond the block, and the block is there again. */
    take(pair.reader, &block);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 9));
    take(pair.reader, &block);
    OK(brigade_reader_give_back(pair.reader, &block));

    brigade_data_block data, again;
    OK(brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
    again = data;
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_done(other.writer, &data));
    OK(brigade_writer_done(pair.writer, &again));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_done(pair.writer, &data));
    finish_pair(&pair);
    finish_pair(&other);
}

static void after_the_end_nothing_is_sent(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    brigade_empty_block block;
    brigade_data_block data;
    take(pair.reader, &block);
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_finish(pair.writer, NULL));
    OK(brigade_reader_close(pair.reader));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_post(pair.reader, 1, 0, NULL, 0));
    EXPECT(BRIGADE_TIMED_OUT, brigade_reader_verdict(pair.reader, 1, NULL));
    EXPECT(BRIGADE_TIMED_OUT, brigade_reader_finish(pair.reader, BRIGADE_NO_WAIT, NULL));
    EXPECT(BRIGADE_END, brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
    OK(brigade_writer_finish(pair.writer, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_finish(pair.writer, NULL));
    OK(brigade_reader_finish(pair.reader, LIMIT_MS, NULL));
    EXPECT(BRIGADE_INVALID_USE, brigade_writer_post(pair.writer, 1, 0, NULL, 0));
    free_pair(&pair);
}

static void a_block_that_was_kept_fails_the_verdict(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    brigade_empty_block block;
    brigade_data_block data, none;
    take(pair.reader, &block);
    OK(brigade_reader_send(pair.reader, &block, 8));
    OK(brigade_reader_close(pair.reader));
    OK(brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
    EXPECT(BRIGADE_END, brigade_writer_data_block(pair.writer, LIMIT_MS, &none));
    EXPECT(BRIGADE_NOT_GIVEN_BACK, brigade_writer_finish(pair.writer, NULL));
    EXPECT(BRIGADE_PARTNER_ABORTED, brigade_reader_verdict(pair.reader, LIMIT_MS, NULL));
    CHECK(brigade_last_error()->delivered.blocks == 0);
    free_pair(&pair);
}

static void interests_that_nobody_knows_are_refused(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    int is_armed;
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_arm(pair.reader, 0, &is_armed));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_arm(pair.reader, 16 | 1, &is_armed));
    OK(brigade_writer_arm(pair.writer, BRIGADE_WAIT_BLOCKS | BRIGADE_WAIT_LETTERS, &is_armed));
    CHECK(is_armed == 1);
    OK(brigade_writer_disarm(pair.writer));
    finish_pair(&pair);
}

static void a_forked_childs_calls_fail_and_change_nothing(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    brigade_empty_block block;
    brigade_data_block data;
    take(pair.reader, &block);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 1));
        EXPECT(BRIGADE_INVALID_USE, brigade_reader_empty_block(pair.reader, 1, &block));
        EXPECT(BRIGADE_INVALID_USE, brigade_writer_data_block(pair.writer, 1, &data));
        EXPECT(BRIGADE_INVALID_USE, brigade_reader_close(pair.reader));
        free_pair(&pair);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(brigade_reader_send(pair.reader, &block, 1));
    OK(brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
    OK(brigade_writer_done(pair.writer, &data));
    finish_pair(&pair);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    CHECK(brigade_last_error()->code == BRIGADE_OK && brigade_last_error()->text[0] == '\0');
    null_is_an_error_everywhere();
    null_in_place_of_a_result_is_an_error(arguments[1]);
    options_that_cannot_be_are_refused(arguments[1]);
    a_block_is_used_up_once_and_by_its_own_end(arguments[1]);
    after_the_end_nothing_is_sent(arguments[1]);
    a_block_that_was_kept_fails_the_verdict(arguments[1]);
    interests_that_nobody_knows_are_refused(arguments[1]);
    a_forked_childs_calls_fail_and_change_nothing(arguments[1]);
    return 0;
}
