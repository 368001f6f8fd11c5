/* Data that goes both ways, and a process that is started and invited. */
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static void say(brigade_reader *reader, const char *words)
{
    brigade_empty_block block;
    OK(brigade_reader_empty_block(reader, LIMIT_MS, &block));
    memcpy(block.data, words, strlen(words));
    OK(brigade_reader_send(reader, &block, strlen(words)));
}

static void hear(brigade_writer *writer, const char *words)
{
    brigade_data_block block;
    OK(brigade_writer_data_block(writer, LIMIT_MS, &block));
    CHECK(block.len == strlen(words) && memcmp(block.data, words, block.len) == 0);
    OK(brigade_writer_done(writer, &block));
}

static void converse(const char *name)
{
    brigade_options *options = brigade_options_new();
    brigade_reader *reader;
    brigade_writer *writer;
    brigade_data_block none;
    int is_first;
    OK(brigade_options_wait(options, LIMIT_MS));
    OK(brigade_join_both_ways(name, options, &reader, &writer, &is_first));
    brigade_options_free(options);
    if (is_first) {
        say(reader, "what?");
        hear(writer, "that");
    } else {
        hear(writer, "what?");
        say(reader, "that");
    }
    OK(brigade_reader_close(reader));
    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, LIMIT_MS, &none));
    OK(brigade_writer_finish(writer, NULL));
    OK(brigade_reader_verdict(reader, LIMIT_MS, NULL));
    brigade_reader_free(reader);
    brigade_writer_free(writer);
}

static void end_well(pid_t child)
{
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void two_processes_ask_and_answer(const char *name)
{
    pid_t child = fork();
    CHECK(child >= 0);
    converse(name);
    if (child == 0)
        exit(0);
    end_well(child);
}

static void a_process_is_started_and_invited(const char *program)
{
    const char *const arguments[] = {program, "invited", "and", NULL};
    const char *const nobody[] = {"/nobody/has/this/program", NULL};
    brigade_options *options = brigade_options_new();
    brigade_seat *seat;
    brigade_reader *reader;
    uint32_t child;
    OK(brigade_options_wait(options, LIMIT_MS));
    EXPECT(BRIGADE_OS, brigade_invite(options, nobody, &child, &seat));
    CHECK(brigade_last_error()->os_error != 0 && seat == NULL && child == 0);
    OK(brigade_invite(options, arguments, &child, &seat));
    CHECK(brigade_seat_side(seat) == BRIGADE_READER);
    OK(brigade_seat_wait(&seat, &reader, NULL));
    brigade_options_free(options);
    say(reader, "welcome");
    OK(brigade_reader_finish(reader, LIMIT_MS, NULL));
    brigade_reader_free(reader);
    end_well((pid_t)child);
}

static int invited(void)
{
    brigade_writer *writer;
    brigade_data_block none;
    OK(brigade_accept(NULL, NULL, &writer));
    hear(writer, "welcome");
    EXPECT(BRIGADE_END, brigade_writer_data_block(writer, LIMIT_MS, &none));
    OK(brigade_writer_finish(writer, NULL));
    brigade_writer_free(writer);
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "invited") == 0)
        return invited();
    CHECK(count == 2);
    two_processes_ask_and_answer(arguments[1]);
    a_process_is_started_and_invited(arguments[0]);
    return 0;
}
