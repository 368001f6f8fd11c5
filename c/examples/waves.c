/* Sums up samples where they lie, in the memory of the process that computes them: the other end
 * of python/examples/waves.py.
 *
 *     cc -o waves waves.c $(pkg-config --cflags --libs brigade)
 *     ./waves my-waves
 *
 * The samples are doubles; a block's tag is the number of its first one. */
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brigade.h"

#define BLOCK (65536 * sizeof(double))

/* The kind of the letter with what it should be: the number of samples, and their sum. */
enum { TOTAL = 1 };

static void check(int status)
{
    if (status == BRIGADE_OK)
        return;
    fprintf(stderr, "waves: %s\n",
            status == BRIGADE_END ? "there is no total" : brigade_last_error()->text);
    exit(1);
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "waves NAME\n");
        return 2;
    }
    brigade_options *options = brigade_options_new();
    brigade_writer *writer;
    check(brigade_options_blocks(options, BLOCK, 16));
    check(brigade_join(arguments[1], options, NULL, &writer));
    brigade_options_free(options);

    uint64_t samples = 0;
    double sum = 0;
    brigade_data_block block;
    int status;
    while ((status = brigade_writer_data_block(writer, BRIGADE_FOREVER, &block)) == BRIGADE_OK) {
        /* Blocks begin where any type may. */
        const double *wave = (const double *)block.data;
        size_t len = block.len / sizeof *wave;
        if (block.tag != samples || block.len % sizeof *wave != 0) {
            fprintf(stderr, "waves: samples are missing at %" PRIu64 "\n", samples);
            return 1; /* and the partner sees that this process gave up */
        }
        for (size_t index = 0; index < len; index++)
            sum += wave[index];
        samples += len;
        check(brigade_writer_done(writer, &block));
    }
    if (status != BRIGADE_END)
        check(status);

    brigade_letter letter;
    check(brigade_writer_letter(writer, BRIGADE_FOREVER, &letter));
    uint64_t all_samples;
    double total;
    if (letter.kind != TOTAL || letter.len != sizeof all_samples + sizeof total) {
        check(brigade_writer_abort(writer, 0, "the letter is no total"));
        return 1;
    }
    memcpy(&all_samples, letter.bytes, sizeof all_samples);
    memcpy(&total, letter.bytes + sizeof all_samples, sizeof total);
    /* Who adds in another order rounds differently. */
    if (samples != all_samples || !(fabs(sum - total) <= 1e-9 * (1 + fabs(total)))) {
        fprintf(stderr, "waves: %" PRIu64 " samples, sum %f; not %" PRIu64 " and %f\n", samples,
                sum, all_samples, total);
        check(brigade_writer_abort(writer, 0, "the sum is not right"));
        return 1;
    }
    check(brigade_writer_finish(writer, NULL));
    printf("waves: %" PRIu64 " samples, whose sum is %f\n", samples, sum);
    brigade_writer_free(writer);
    return 0;
}
