/* An encoder that is slower than its camera and wants the newest frame: the other end of camera.c,
 * of python/examples/camera.py, or of the Rust library's example `camera`.
 *
 *     cc -o encoder encoder.c $(pkg-config --cflags --libs brigade)
 *     ./encoder my-camera 300
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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
    fprintf(stderr, "encoder: %s\n",
            status == BRIGADE_END ? "the camera has stopped" : brigade_last_error()->text);
    exit(1);
}

static void post(brigade_writer *writer, uint16_t kind)
{
    check(brigade_writer_post(writer, BRIGADE_FOREVER, kind, NULL, 0));
}

/* This would be the encoding. */
static void encode(const brigade_data_block *frame)
{
    const struct timespec encoding_time = {0, 5000000};
    for (size_t index = 0; index < frame->len; index++) {
        if (frame->data[index] != (uint8_t)frame->tag) {
            fprintf(stderr, "encoder: frame %llu is torn\n", (unsigned long long)frame->tag);
            exit(1);
        }
    }
    nanosleep(&encoding_time, NULL);
}

int main(int count, char **arguments)
{
    if (count < 2 || count > 3) {
        fprintf(stderr, "encoder NAME [FRAMES]\n");
        return 2;
    }
    unsigned long frames = count == 3 ? strtoul(arguments[2], NULL, 10) : 300;
    brigade_options *options = brigade_options_new();
    brigade_writer *writer;
    check(brigade_options_blocks(options, FRAME, 32));
    check(brigade_join(arguments[1], options, NULL, &writer));
    brigade_options_free(options);

    unsigned long encoded = 0, skipped = 0, key_frames = 0;
    bool is_key_wanted = false;
    brigade_data_block frame;
    while (encoded < frames || is_key_wanted) {
        if (encoded % 30 == 0 && encoded < frames) {
            post(writer, KEY_FRAME_PLEASE);
            is_key_wanted = true;
        }
        size_t older;
        check(brigade_writer_newest_block(writer, BRIGADE_FOREVER, &frame, &older));
        skipped += older;
        encode(&frame);
        if (is_key_wanted && frame.kind == KEY_FRAME) {
            post(writer, KEY_FRAME_SEEN);
            is_key_wanted = false;
            key_frames++;
        }
        check(brigade_writer_done(writer, &frame));
        encoded++;
    }
    post(writer, STOP);
    int status;
    while ((status = brigade_writer_data_block(writer, BRIGADE_FOREVER, &frame)) == BRIGADE_OK) {
        check(brigade_writer_done(writer, &frame));
        skipped++;
    }
    if (status != BRIGADE_END)
        check(status);
    brigade_delivered delivered;
    check(brigade_writer_finish(writer, &delivered));
    printf("encoder: %lu frames encoded, %lu skipped, %lu key frames\n", encoded, skipped,
           key_frames);
    brigade_writer_free(writer);
    return encoded + skipped == delivered.blocks ? 0 : 1;
}
