/* A camera that never waits: where there is no empty block, it drops the frame. Its encoder is
 * encoder.c, python/examples/encoder.py, or that of the Rust library's example `camera`; this one
 * serves all of them.
 *
 *     cc -o camera camera.c $(pkg-config --cflags --libs brigade)
 *     ./camera my-camera
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "brigade.h"

#define FRAME (640 * 480)

/* The kinds of the encoder's letters, */
enum { KEY_FRAME_PLEASE = 1, KEY_FRAME_SEEN = 2, STOP = 3 };
/* and of the camera's blocks. */
enum { PLAIN_FRAME = 0, KEY_FRAME = 1 };

static void check(int status)
{
    if (status == BRIGADE_OK)
        return;
    fprintf(stderr, "camera: %s\n", brigade_last_error()->text);
    exit(1);
}

/* What the encoder wants; false if it wants no more. */
static bool heard(brigade_reader *reader, uint16_t *kind)
{
    brigade_letter letter;
    int status;
    while ((status = brigade_reader_letter(reader, BRIGADE_NO_WAIT, &letter)) == BRIGADE_OK) {
        if (letter.kind == STOP)
            return false;
        *kind = letter.kind == KEY_FRAME_PLEASE ? KEY_FRAME : PLAIN_FRAME;
    }
    if (status != BRIGADE_TIMED_OUT)
        check(status);
    return true;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "camera NAME\n");
        return 2;
    }
    brigade_options *options = brigade_options_new();
    brigade_reader *reader;
    /* More blocks than frames are made while one is encoded: the newest always finds room. */
    check(brigade_options_blocks(options, FRAME, 32));
    check(brigade_join(arguments[1], options, &reader, NULL));
    brigade_options_free(options);

    uint64_t made = 0, dropped = 0;
    uint16_t kind = PLAIN_FRAME;
    const struct timespec frame_time = {0, 1000000};
    while (heard(reader, &kind)) {
        brigade_empty_block block;
        int status = brigade_reader_empty_block(reader, BRIGADE_NO_WAIT, &block);
        if (status == BRIGADE_OK) {
            memset(block.data, (int)(uint8_t)made, FRAME);
            block.kind = kind;
            block.tag = made;
            check(brigade_reader_send(reader, &block, FRAME));
        } else if (status == BRIGADE_TIMED_OUT) {
            dropped++;
        } else {
            check(status);
        }
        made++;
        nanosleep(&frame_time, NULL);
    }
    brigade_delivered delivered;
    check(brigade_reader_finish(reader, BRIGADE_FOREVER, &delivered));
    printf("camera: %llu frames made, %llu sent, %llu dropped\n", (unsigned long long)made,
           (unsigned long long)delivered.blocks, (unsigned long long)dropped);
    brigade_reader_free(reader);
    return made == delivered.blocks + dropped ? 0 : 1;
}
