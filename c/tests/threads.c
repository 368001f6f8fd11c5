/* Threads: blocks that leave their end, monitors, and two that collide. */
#include "pair.h"

static void *fill(void *context)
{
    brigade_owned_empty *owned = context;
    brigade_empty_block block;
    OK(brigade_owned_empty_look(owned, &block));
    CHECK(block.len == 8);
    memset(block.data, 5, 8);
    OK(brigade_owned_empty_send(&owned, 3, 9, 2, 1));
    CHECK(owned == NULL);
    return NULL;
}

static void *drain(void *context)
{
    brigade_owned_data *owned = context;
    brigade_data_block block;
    OK(brigade_owned_data_look(owned, &block));
    CHECK(block.len == 3 && block.tag == 9 && block.kind == 2 && block.more == 1);
    CHECK(block.data[0] == 5 && block.data[2] == 5);
    brigade_owned_data_done(owned);
    return NULL;
}

static pthread_t start(void *(*run)(void *), void *context)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, context) == 0);
    return thread;
}

static void blocks_are_filled_and_drained_by_other_threads(const char *name)
{
    struct pair pair = new_pair(name, 8, 4);
    pthread_t threads[4];
    brigade_empty_block empty;
    brigade_owned_empty *owned;
    for (int index = 0; index < 4; index++) {
        OK(brigade_reader_empty_block(pair.reader, LIMIT_MS, &empty));
        OK(brigade_reader_detach(pair.reader, &empty, &owned));
        CHECK(empty.data == NULL);
        threads[index] = start(fill, owned);
    }
    for (int index = 0; index < 4; index++)
        CHECK(pthread_join(threads[index], NULL) == 0);
    OK(brigade_reader_check(pair.reader));
    EXPECT(BRIGADE_TIMED_OUT, brigade_reader_empty_block(pair.reader, BRIGADE_NO_WAIT, &empty));
    for (int index = 0; index < 4; index++) {
        brigade_data_block data;
        brigade_owned_data *taken;
        OK(brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
        OK(brigade_writer_detach(pair.writer, &data, &taken));
        threads[index] = start(drain, taken);
    }
    for (int index = 0; index < 4; index++)
        CHECK(pthread_join(threads[index], NULL) == 0);
    brigade_data_block none;
    EXPECT(BRIGADE_TIMED_OUT, brigade_writer_data_block(pair.writer, BRIGADE_NO_WAIT, &none));
    /* One that is not sent after all. */
    OK(brigade_reader_empty_block(pair.reader, LIMIT_MS, &empty));
    OK(brigade_reader_detach(pair.reader, &empty, &owned));
    brigade_owned_empty_free(owned);
    finish_pair(&pair);
}

static void a_detached_block_outlives_its_end(const char *name)
{
    struct pair pair = new_pair(name, 8, 2);
    brigade_empty_block empty;
    brigade_owned_empty *owned;
    OK(brigade_reader_empty_block(pair.reader, LIMIT_MS, &empty));
    OK(brigade_reader_detach(pair.reader, &empty, &owned));
    free_pair(&pair);
    OK(brigade_owned_empty_look(owned, &empty));
    memset(empty.data, 1, empty.len);
    EXPECT(BRIGADE_INVALID_USE, brigade_owned_empty_send(&owned, 1, 0, 0, 0));
    CHECK(owned == NULL);
}

struct waiting {
    brigade_reader *reader;
    brigade_empty_block block;
    int outcome;
    int calls;
};

static void *wait_for_a_block(void *context)
{
    struct waiting *waiting = context;
    /* Who looks whether this waits may keep it out. */
    do {
        __atomic_add_fetch(&waiting->calls, 1, __ATOMIC_SEQ_CST);
        waiting->outcome = brigade_reader_empty_block(waiting->reader, LIMIT_MS, &waiting->block);
    } while (waiting->outcome == BRIGADE_INVALID_USE);
    CHECK(strcmp(brigade_last_error()->reason, "enough") == 0);
    CHECK(brigade_last_error()->reason_code == 17);
    return NULL;
}

/* How many calls that took. */
static int calls_until_it_waits(struct waiting *waiting)
{
    for (int ms = 0; brigade_reader_block_size(waiting->reader) != 0; ms++) {
        CHECK(ms < LIMIT_MS);
        usleep(1000);
    }
    return __atomic_load_n(&waiting->calls, __ATOMIC_SEQ_CST);
}

static void *watch(void *context)
{
    EXPECT(BRIGADE_ABORTED, brigade_monitor_watch(context, BRIGADE_FOREVER));
    return NULL;
}

static void who_collides_is_told_and_an_abort_ends_all_waits(const char *name)
{
    struct pair pair = new_pair(name, 8, 1);
    struct waiting waiting = {pair.reader, {0}, BRIGADE_OK, 0};
    brigade_empty_block block;
    brigade_monitor *monitor;
    OK(brigade_reader_monitor(pair.reader, &monitor));
    OK(brigade_reader_empty_block(pair.reader, LIMIT_MS, &block));
    pthread_t thread = start(wait_for_a_block, &waiting);
    pthread_t watching = start(watch, monitor);
    int calls = calls_until_it_waits(&waiting);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_close(pair.reader));
    CHECK(brigade_reader_block_size(pair.reader) == 0);
    /* Not freed under the other thread's feet. */
    brigade_reader_free(pair.reader);
    CHECK(brigade_last_error()->code == BRIGADE_INVALID_USE);
    OK(brigade_monitor_abort(monitor, 17, "enough"));
    CHECK(pthread_join(thread, NULL) == 0 && pthread_join(watching, NULL) == 0);
    CHECK(waiting.outcome == BRIGADE_ABORTED && waiting.block.data == NULL);
    CHECK(waiting.calls == calls);
    EXPECT(BRIGADE_ABORTED, brigade_reader_close(pair.reader));
    EXPECT(BRIGADE_ABORTED, brigade_reader_send(pair.reader, &block, 1));

    brigade_data_block data;
    EXPECT(BRIGADE_PARTNER_ABORTED, brigade_writer_data_block(pair.writer, LIMIT_MS, &data));
    CHECK(brigade_last_error()->reason_code == 17);
    CHECK(strcmp(brigade_last_error()->reason, "enough") == 0);
    CHECK(brigade_last_error()->partner_process_id == (uint32_t)getpid());
    brigade_monitor_free(monitor);
    free_pair(&pair);
}

static void *fail_otherwise(void *context)
{
    (void)context;
    CHECK(brigade_last_error()->code == BRIGADE_OK);
    EXPECT(BRIGADE_INVALID_USE, brigade_monitor_watch(NULL, 0));
    return NULL;
}

static void each_thread_has_an_error_of_its_own(const char *name)
{
    struct pair pair = new_pair(name, 8, 1);
    brigade_data_block data;
    EXPECT(BRIGADE_TIMED_OUT, brigade_writer_data_block(pair.writer, 0, &data));
    CHECK(pthread_join(start(fail_otherwise, NULL), NULL) == 0);
    OK(brigade_writer_check(pair.writer));
    CHECK(brigade_last_error()->code == BRIGADE_TIMED_OUT);
    finish_pair(&pair);
}

static void *abort_soon(void *context)
{
    usleep(A_WHILE_US);
    OK(brigade_monitor_abort(context, 3, "no time"));
    return NULL;
}

static void a_wait_for_a_partner_can_be_ended(const char *name)
{
    brigade_seat *seat;
    brigade_monitor *monitor;
    brigade_reader *reader;
    OK(brigade_seat_take(name, NULL, &seat));
    CHECK(brigade_seat_side(seat) == BRIGADE_READER && brigade_seat_is_first(seat) == 1);
    OK(brigade_seat_monitor(seat, &monitor));
    pthread_t thread = start(abort_soon, monitor);
    EXPECT(BRIGADE_ABORTED, brigade_seat_wait(&seat, &reader, NULL));
    CHECK(seat == NULL && reader == NULL);
    CHECK(pthread_join(thread, NULL) == 0);
    brigade_monitor_free(monitor);
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    blocks_are_filled_and_drained_by_other_threads(arguments[1]);
    a_detached_block_outlives_its_end(arguments[1]);
    who_collides_is_told_and_an_abort_ends_all_waits(arguments[1]);
    each_thread_has_an_error_of_its_own(arguments[1]);
    a_wait_for_a_partner_can_be_ended(arguments[1]);
    return 0;
}
