/* What the test programs have in common. Each is run with a name that nobody else has. */
#ifndef CHECK_H
#define CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brigade.h"

/* No test takes this long; one that does hangs. */
#define LIMIT_MS 60000

/* Long enough for another thread to have gone to sleep in a call. */
#define A_WHILE_US 50000

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            const brigade_error *last = brigade_last_error();                                      \
            fprintf(stderr, "%s:%d: %s\nthe last error: %d, %s\n", __FILE__, __LINE__,             \
                    #condition, last->code, last->text);                                           \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* The call returns the number, and the record agrees if that is an error. */
#define EXPECT(number, call)                                                                       \
    do {                                                                                           \
        int got = (call);                                                                          \
        if (got != (number)) {                                                                     \
            fprintf(stderr, "%s:%d: %s: %d, not %d: %s\n", __FILE__, __LINE__, #call, got,         \
                    (int)(number), brigade_last_error()->text);                                    \
            exit(1);                                                                               \
        }                                                                                          \
        if (got > 0 || got == BRIGADE_DEFECT) {                                                    \
            CHECK(brigade_last_error()->code == got);                                              \
            CHECK(brigade_last_error()->text[0] != '\0');                                          \
        }                                                                                          \
    } while (0)

#define OK(call) EXPECT(BRIGADE_OK, call)

#endif
