/* What was freed is found out as long as its memory is not used for something else: here it is
 * not. (Tools that watch memory rightly object to the look.) */
#include "pair.h"

int main(int count, char **arguments)
{
    CHECK(count == 2);
    brigade_options *options = brigade_options_new();
    brigade_options_free(options);
    EXPECT(BRIGADE_INVALID_USE, brigade_options_blocks(options, 8, 2));
    brigade_options_free(options);
    CHECK(brigade_last_error()->code == BRIGADE_INVALID_USE);

    struct pair pair = new_pair(arguments[1], 8, 2);
    brigade_empty_block block;
    OK(brigade_reader_empty_block(pair.reader, LIMIT_MS, &block));
    brigade_reader_free(pair.reader);
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_send(pair.reader, &block, 1));
    EXPECT(BRIGADE_INVALID_USE, brigade_reader_close(pair.reader));
    brigade_reader_free(pair.reader);
    CHECK(brigade_last_error()->code == BRIGADE_INVALID_USE);
    brigade_writer_free(pair.writer);
    brigade_options_free(pair.readers);
    brigade_options_free(pair.writers);
    return 0;
}
