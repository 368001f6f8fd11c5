/* One end of a flow of blocks, whose other end may be of another language:
 * flow fill|drain NAME. */
#include "check.h"

#define SIZE 1000
#define SENT 2000

static void fill(const char *name, const brigade_options *options)
{
    brigade_reader *reader;
    brigade_letter letter;
    OK(brigade_join(name, options, &reader, NULL));
    for (unsigned number = 0; number < SENT; number++) {
        brigade_empty_block block;
        OK(brigade_reader_empty_block(reader, LIMIT_MS, &block));
        memset(block.data, (int)number, number % SIZE);
        block.tag = number;
        block.kind = (uint16_t)(number / 2);
        block.more = number % 2;
        OK(brigade_reader_send(reader, &block, number % SIZE));
    }
    OK(brigade_reader_close(reader));
    OK(brigade_reader_letter(reader, LIMIT_MS, &letter));
    CHECK(letter.kind == 1 && letter.len == 3 && memcmp(letter.bytes, "all", 3) == 0);
    OK(brigade_reader_verdict(reader, LIMIT_MS, NULL));
    brigade_reader_free(reader);
}

static void drain(const char *name, const brigade_options *options)
{
    brigade_writer *writer;
    brigade_data_block block;
    unsigned number = 0;
    int found;
    OK(brigade_join(name, options, NULL, &writer));
    while ((found = brigade_writer_data_block(writer, LIMIT_MS, &block)) == BRIGADE_OK) {
        CHECK(block.tag == number && block.len == number % SIZE);
        CHECK(block.kind == number / 2 && block.more == number % 2);
        for (size_t index = 0; index < block.len; index++)
            CHECK(block.data[index] == (uint8_t)number);
        OK(brigade_writer_done(writer, &block));
        number++;
    }
    EXPECT(BRIGADE_END, found);
    CHECK(number == SENT);
    OK(brigade_writer_post(writer, LIMIT_MS, 1, (const uint8_t *)"all", 3));
    OK(brigade_writer_finish(writer, NULL));
    brigade_writer_free(writer);
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    brigade_options *options = brigade_options_new();
    OK(brigade_options_blocks(options, SIZE, 8));
    OK(brigade_options_wait(options, LIMIT_MS));
    if (strcmp(arguments[1], "fill") == 0)
        fill(arguments[2], options);
    else
        drain(arguments[2], options);
    brigade_options_free(options);
    return 0;
}
