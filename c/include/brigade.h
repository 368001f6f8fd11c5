/*
 * brigade: bulk data between exactly two processes, through shared memory.
 *
 * Two processes find each other by a name alone (brigade_join). One is the Reader: it takes empty
 * blocks, fills and sends them. The other is the Writer: it takes filled blocks, drains them and
 * gives them back. No byte is copied on the way. When one dies, the call of the other that waits
 * returns an error, after all that was sent before; at the end both know whether all is good.
 *
 * For C99, C11 and C++; Linux 5.4 and Windows 10 or later, 64 bits.
 *
 * Results
 *   Most functions return a number: BRIGADE_OK (0); BRIGADE_END, which is no failure: there will
 *   be nothing more; or the number of an error. brigade_last_error() then tells more. Every
 *   function that returns a number can return BRIGADE_INVALID_USE (a pointer that must not be
 *   NULL is; a block that was sent; a call in a forked child; an object that another thread is
 *   using) and BRIGADE_DEFECT (a bug of brigade, caught before it could unwind into C). "Errors"
 *   says which others. Results that go through a pointer are zeros (NULL) after a failure.
 *
 * Waiting
 *   timeout_ms is how long a call may wait, in milliseconds: BRIGADE_FOREVER for no limit; at 0
 *   (BRIGADE_NO_WAIT) and below it looks and does not wait. BRIGADE_TIMED_OUT says that the time
 *   is over, and the session goes on. A wait sleeps without using the processor. Joining waits as
 *   long as the options say.
 *
 * Threads
 *   Each type says its rule. "One thread at a time" is: any thread, but never two at once, and
 *   what one did must be known to the next (by a mutex, or by joining a thread). If two are in
 *   the same object, and one waits, the other's call fails with BRIGADE_INVALID_USE. This is a
 *   help, not a promise: calls that do not wait may collide unseen.
 *
 * Signals and fork
 *   No function may be called in a signal handler: let it write to a pipe, or set a flag, and a
 *   thread call brigade_monitor_abort(). Signals do not end waits. A child made by fork() has
 *   copies that do nothing: their calls fail, and the session stays the parent's.
 *
 * What cannot be found out
 *   A pointer that brigade never gave, one that was freed and whose memory is used again, bytes of
 *   a block that are used after it was sent or given back, an object that is freed while
 *   another thread is in it, places for results that are too small, longjmp() over a call.
 *
 * Texts are UTF-8 and end with NUL. What a call is given by pointer is not kept.
 */
#ifndef BRIGADE_H
#define BRIGADE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && !defined(BRIGADE_STATIC)
/* Define BRIGADE_STATIC where the static library is linked. */
#define BRIGADE_API __declspec(dllimport)
#else
#define BRIGADE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Numbers ------------------------------------------------------------------------------ */

#define BRIGADE_OK 0
/* There will be nothing more: no data, no letter. */
#define BRIGADE_END -1
/* A bug of brigade. The object may be of no use any more; free it. */
#define BRIGADE_DEFECT -2

/* Errors. Each number means the same for ever; more may come. */
#define BRIGADE_TOO_MANY_INSTANCES 1   /* two processes have this name already */
#define BRIGADE_NOT_ANSWERING 2        /* a process has this name and does not answer */
#define BRIGADE_NO_PARTNER 3           /* nobody came in time */
#define BRIGADE_TIMED_OUT 4            /* the time of this call is over; the session goes on */
#define BRIGADE_PARTNER_DIED 5         /* the partner's process ended before the session */
#define BRIGADE_PARTNER_ABORTED 6      /* the partner gave up: see reason and reason_code */
#define BRIGADE_PROTOCOL_VIOLATION 7   /* the partner is broken, or of another make */
#define BRIGADE_ABORTED 8              /* this process gave up: see reason and reason_code */
#define BRIGADE_INVALID_USE 9          /* the caller broke a rule of this interface */
#define BRIGADE_INVALID_OPTION 10      /* an option's value, or a name, cannot be */
#define BRIGADE_OUT_OF_MEMORY 11       /* the pool does not fit into this machine's memory */
#define BRIGADE_UNSUPPORTED 12         /* the system lacks what cannot be done without */
#define BRIGADE_OS 13                  /* the system refused something: see os_error */
#define BRIGADE_NOT_PRIVATE 14         /* the directory of plain names is not this user's alone */
#define BRIGADE_NOT_GIVEN_BACK 16      /* a verdict while blocks were still out */
#define BRIGADE_INVITATION_OVER 17     /* the other process of an invitation has gone */

/* The two do not fit, or the name cannot be used; to try again changes nothing. 110 and more are
 * for reasons of later versions. */
#define BRIGADE_REFUSED 100
#define BRIGADE_REFUSED_OTHER_USER 101
#define BRIGADE_REFUSED_OTHER_VERSION 102
#define BRIGADE_REFUSED_OTHER_GEOMETRY 103 /* blocks of another size or number */
#define BRIGADE_REFUSED_OTHER_WAYS 104     /* one wants data to go both ways, the other does not */
#define BRIGADE_REFUSED_SAME_SIDE 105
#define BRIGADE_REFUSED_OTHER_PROCESS 106  /* see brigade_options_expect_process() */
#define BRIGADE_REFUSED_MALFORMED 107
#define BRIGADE_REFUSED_IN_THE_WAY 108     /* something else is where the name's file must be */
#define BRIGADE_REFUSED_NAME_LOST 109      /* the name's files were removed; start again */

/* Sides. */
#define BRIGADE_ANY_SIDE 0 /* the first process to come is the Reader, the second what is left */
#define BRIGADE_READER 1
#define BRIGADE_WRITER 2

/* Limits. */
#define BRIGADE_FIGURES 4         /* numbers of progress of each end */
#define BRIGADE_GREETING_MAX 1024 /* bytes of a greeting */
#define BRIGADE_LETTER_MAX 1016   /* bytes of a letter */

/* Waits. */
#define BRIGADE_NO_WAIT 0
#define BRIGADE_FOREVER INT64_MAX

/* What brigade_reader_arm() and brigade_writer_arm() wait for; combined with |. */
#define BRIGADE_WAIT_BLOCKS 1  /* a block to take; for a Writer also the end of the data */
#define BRIGADE_WAIT_LETTERS 2 /* a letter, or that none can come any more */
#define BRIGADE_WAIT_ROOM 4    /* room for a letter */
#define BRIGADE_WAIT_VERDICT 8 /* for a Reader that has closed: the verdict */

/* ---- Errors ------------------------------------------------------------------------------- */

/* What has passed through a session. A block is delivered when the Writer has given it back; the
 * Reader knows that by the Writer's word. Plain data. */
typedef struct brigade_delivered {
    uint64_t blocks;
    uint64_t bytes;
} brigade_delivered;

/* The last failure of a thread. Only read it; later versions may add to its end. */
typedef struct brigade_error {
    int code;                    /* the number that the call returned; BRIGADE_OK for none yet */
    const char *text;            /* one line for people */
    const char *reason;          /* after an abort: its reason alone; otherwise "" */
    uint32_t reason_code;        /* after an abort: its number; 0 if it had none */
    uint32_t partner_process_id; /* whose failure it was; 0 if that is not known */
    brigade_delivered delivered; /* if the partner failed: how far the transfer had come */
    int32_t os_error;            /* errno or GetLastError() behind the error; 0 if there is none */
} brigade_error;

/* The last failure of the calling thread; never NULL. A call that succeeds leaves it as it is,
 * the thread's next failure replaces it, and it ends with the thread. Functions without a number
 * as their result leave it, too, when they fail. */
BRIGADE_API const brigade_error *brigade_last_error(void);

/* ---- Options ------------------------------------------------------------------------------ */

/* How to join; NULL in its place means the defaults. One thread at a time. The same options may
 * serve any number of joins. */
typedef struct brigade_options brigade_options;

/* The defaults: 16 blocks of 256 KiB, a side by arrival, no greeting, no limit to the wait. */
BRIGADE_API brigade_options *brigade_options_new(void);

/* NULL is allowed. */
BRIGADE_API void brigade_options_free(brigade_options *options);

/* Size of a block in bytes (1 to 1 GiB) and number of blocks (1 to 65536). Both processes must
 * choose the same. Values that cannot be are found when joining. */
BRIGADE_API int brigade_options_blocks(brigade_options *options, size_t size, size_t count);

/* BRIGADE_READER, BRIGADE_WRITER or BRIGADE_ANY_SIDE. Errors: BRIGADE_INVALID_OPTION. */
BRIGADE_API int brigade_options_side(brigade_options *options, int side);

/* How long joining waits for the partner. Without a wait (0) only a partner that is there
 * already is met. */
BRIGADE_API int brigade_options_wait(brigade_options *options, int64_t timeout_ms);

/* Bytes that the partner gets to see when it has joined, at most BRIGADE_GREETING_MAX (found when
 * joining). */
BRIGADE_API int brigade_options_greeting(brigade_options *options, const uint8_t *bytes,
                                         size_t len);

/* Lets the partner be this user, by name or number, beside this process's own; may be called for
 * several. The name of the session must be a path then. Linux only: elsewhere joining fails with
 * BRIGADE_UNSUPPORTED. Errors: BRIGADE_INVALID_OPTION (not UTF-8). */
BRIGADE_API int brigade_options_allow_user(brigade_options *options, const char *user);

/* Lets only the process with this id be the partner. */
BRIGADE_API int brigade_options_expect_process(brigade_options *options, uint32_t process_id);

/* If the partner is lost, this process keeps its place for that long, so that whoever joins next
 * gets the lost one's: see brigade_reader_into_unreturned(), brigade_writer_into_survivor(). */
BRIGADE_API int brigade_options_takeover(brigade_options *options, int64_t limit_ms);

/* ---- Joining ------------------------------------------------------------------------------ */

/* The end that fills blocks. One thread at a time, but for its monitors. */
typedef struct brigade_reader brigade_reader;

/* The end that drains blocks. One thread at a time, but for its monitors. */
typedef struct brigade_writer brigade_writer;

/* A second handle on a session. Any thread, and any number of them at once. It may outlive its
 * end. To be freed when no thread is in it. */
typedef struct brigade_monitor brigade_monitor;

/* A place in a session, whose partner may be yet to come. One thread at a time. */
typedef struct brigade_seat brigade_seat;

/* Joins the session of this name, and waits for the partner as long as the options say. One of
 * *reader and *writer becomes this process's end, the other NULL. Where reader or writer is NULL,
 * this process has the other side, as with brigade_options_side(). A plain name is this user's; a
 * name with a path separator is a path, in a directory that exists.
 *
 * Errors: BRIGADE_TOO_MANY_INSTANCES (after half a second), BRIGADE_NOT_ANSWERING,
 * BRIGADE_NO_PARTNER, BRIGADE_INVALID_OPTION, BRIGADE_OUT_OF_MEMORY, BRIGADE_UNSUPPORTED,
 * BRIGADE_OS, BRIGADE_NOT_PRIVATE, BRIGADE_REFUSED and what follows it. */
BRIGADE_API int brigade_join(const char *name, const brigade_options *options,
                             brigade_reader **reader, brigade_writer **writer);

/* As brigade_join(), for a session in which data goes both ways: this process gets both ends, each
 * with a pool of its own, which may go to two threads. If the partner dies or gives up, both
 * fail. *is_first (or NULL) is 1 in the process that came first. Where both may send all they
 * have before they listen, each closes first, then drains, and waits for its verdict last. */
BRIGADE_API int brigade_join_both_ways(const char *name, const brigade_options *options,
                                       brigade_reader **reader, brigade_writer **writer,
                                       int *is_first);

/* Joins the session to which the process that started this one invited it; once in a process.
 * reader and writer as in brigade_join().
 *
 * Errors: as brigade_join(); BRIGADE_INVALID_USE if there is no invitation;
 * BRIGADE_INVITATION_OVER; BRIGADE_NOT_ANSWERING after five seconds, or after the wait of the
 * options if that is longer. */
BRIGADE_API int brigade_accept(const brigade_options *options, brigade_reader **reader,
                               brigade_writer **writer);

/* Starts a program and invites it to a session that has no name, and to which nobody else can
 * come: it calls brigade_accept(). arguments are the program (looked for as execvp() does) and its
 * arguments, ended by NULL. *process_id is the child's, for which this process has to wait
 * (waitpid()). *seat is this process's place: call brigade_seat_wait() soon. This process is the
 * Reader unless the options say otherwise.
 *
 * Errors: BRIGADE_INVALID_OPTION, BRIGADE_OUT_OF_MEMORY, BRIGADE_OS (no such program, say). */
BRIGADE_API int brigade_invite(const brigade_options *options, const char *const *arguments,
                               uint32_t *process_id, brigade_seat **seat);

/* The first half of brigade_join(): takes a place, and does not wait for the partner. So the side
 * is known before, and another thread can end the wait (brigade_seat_monitor()).
 *
 * Errors: as brigade_join() but for BRIGADE_NO_PARTNER. */
BRIGADE_API int brigade_seat_take(const char *name, const brigade_options *options,
                                  brigade_seat **seat);

/* BRIGADE_READER or BRIGADE_WRITER; BRIGADE_ANY_SIDE if it fails. */
BRIGADE_API int brigade_seat_side(brigade_seat *seat);

/* 1 if the partner is yet to come; 0 if it is here, or if the call fails. */
BRIGADE_API int brigade_seat_is_first(brigade_seat *seat);

/* A monitor of what becomes of the seat; brigade_monitor_abort() ends the wait for the partner. */
BRIGADE_API int brigade_seat_monitor(brigade_seat *seat, brigade_monitor **monitor);

/* The second half of brigade_join(). The seat is used up, and *seat NULL, also after an error.
 *
 * Errors: BRIGADE_NO_PARTNER, BRIGADE_ABORTED, BRIGADE_INVITATION_OVER, and as brigade_join(). */
BRIGADE_API int brigade_seat_wait(brigade_seat **seat, brigade_reader **reader,
                                  brigade_writer **writer);

/* Gives the place up. NULL is allowed. */
BRIGADE_API void brigade_seat_free(brigade_seat *seat);

/* Does ahead of time what the first joining does: on Linux, in a process with several threads, it
 * spares that some ten milliseconds. Nobody needs to call it. */
BRIGADE_API void brigade_prepare(void);

/* Who is at the other end. What it points to stays until the end is freed. */
typedef struct brigade_partner {
    int side;                /* BRIGADE_READER or BRIGADE_WRITER */
    uint32_t process_id;     /* 0 if it lives where this process cannot see */
    int is_own_user;         /* 1 if its user is surely this process's */
    int64_t user_id;         /* -1 where users have no number (Windows) */
    const char *user;        /* name and number; on Windows, identifier */
    const uint8_t *greeting; /* its word alone */
    size_t greeting_len;
} brigade_partner;

/* ---- Blocks ------------------------------------------------------------------------------- */

/* A block to be filled, lent to the caller until it is sent, given back or detached. The fields
 * below "reserved" are brigade's. The struct may be copied; only one of the copies can be used up.
 * As its end: one thread at a time. */
typedef struct brigade_empty_block {
    uint8_t *data; /* with what was there the last time; aligned to 64 bytes, or to 4096 if it has
                      as many */
    size_t len;    /* its size in bytes */
    uint64_t tag;  /* to be sent with it, as the caller sets them: zeros at first */
    uint16_t kind;
    uint8_t more; /* not 0: the message goes on in the next block */
    uint8_t reserved[1];
    uint32_t slot;
    uint64_t serial;
} brigade_empty_block;

/* A filled block, lent to the caller until it is given back or detached; otherwise as above. The
 * bytes lie in the partner's memory, read-only; those of another user's are a private copy. */
typedef struct brigade_data_block {
    const uint8_t *data;
    size_t len;   /* bytes that were sent */
    uint64_t tag; /* what the Reader sent with it */
    uint16_t kind;
    uint8_t more;
    uint8_t reserved[1];
    uint32_t slot;
    uint64_t serial;
} brigade_data_block;

/* A block to be filled on any thread; it outlives its end. One thread at a time. */
typedef struct brigade_owned_empty brigade_owned_empty;

/* A filled block for any thread, which outlives its end. One thread at a time. */
typedef struct brigade_owned_data brigade_owned_data;

/* A letter, in memory of the caller's. */
typedef struct brigade_letter {
    size_t len;
    uint16_t kind;
    uint8_t bytes[BRIGADE_LETTER_MAX];
} brigade_letter;

/* What poll() and the like wait for: a descriptor; on Windows a HANDLE. */
#ifdef _WIN32
typedef void *brigade_handle;
#else
typedef int brigade_handle;
#endif

/* ---- The Reader --------------------------------------------------------------------------- */

/* Lets the Reader go; if the session has not ended, the Writer is told that it gave up. Blocks
 * that the caller has are empty again. While another thread is in a call it does nothing, and
 * brigade_last_error() says so. NULL is allowed. */
BRIGADE_API void brigade_reader_free(brigade_reader *reader);

BRIGADE_API int brigade_reader_partner(brigade_reader *reader, brigade_partner *partner);

/* Which pair of its session this is: 1 in a new one, and one more for each process that has taken
 * a lost one's place. 0 if it fails, as in the two below. */
BRIGADE_API uint64_t brigade_reader_epoch(brigade_reader *reader);
BRIGADE_API size_t brigade_reader_block_size(brigade_reader *reader);
BRIGADE_API size_t brigade_reader_block_count(brigade_reader *reader);

BRIGADE_API int brigade_reader_delivered(brigade_reader *reader, brigade_delivered *delivered);

/* To be freed with brigade_monitor_free(). */
BRIGADE_API int brigade_reader_monitor(brigade_reader *reader, brigade_monitor **monitor);

/* An empty block; several may be had at once. While this process has all of them none can come.
 *
 * Errors: BRIGADE_TIMED_OUT; BRIGADE_PARTNER_DIED, BRIGADE_PARTNER_ABORTED,
 * BRIGADE_PROTOCOL_VIOLATION and BRIGADE_ABORTED, noticed only when the call has to wait. */
BRIGADE_API int brigade_reader_empty_block(brigade_reader *reader, int64_t timeout_ms,
                                           brigade_empty_block *block);

/* Sends the first len bytes of the block, with its tag, kind and more. Never waits. The block is
 * used up; nothing is sent after an error, and the block is empty again.
 *
 * Errors: BRIGADE_INVALID_USE if len is beyond the block, or after brigade_reader_close();
 * BRIGADE_ABORTED. */
BRIGADE_API int brigade_reader_send(brigade_reader *reader, brigade_empty_block *block, size_t len);

/* Gives a block back unsent. Never waits. */
BRIGADE_API int brigade_reader_give_back(brigade_reader *reader, brigade_empty_block *block);

/* Makes the block one that any thread may fill and send. *block is used up; its bytes stay. */
BRIGADE_API int brigade_reader_detach(brigade_reader *reader, brigade_empty_block *block,
                                      brigade_owned_empty **owned);

/* Says that no more will come. Never waits; may be called again, to no effect.
 *
 * Errors: BRIGADE_PARTNER_ABORTED, BRIGADE_PROTOCOL_VIOLATION, BRIGADE_ABORTED. */
BRIGADE_API int brigade_reader_close(brigade_reader *reader);

/* Waits, after brigade_reader_close(), until the Writer has drained everything and says that it is
 * good. delivered may be NULL.
 *
 * Errors: as brigade_reader_empty_block(). But for BRIGADE_TIMED_OUT the session is over then. */
BRIGADE_API int brigade_reader_verdict(brigade_reader *reader, int64_t timeout_ms,
                                       brigade_delivered *delivered);

/* brigade_reader_close() and brigade_reader_verdict(). */
BRIGADE_API int brigade_reader_finish(brigade_reader *reader, int64_t timeout_ms,
                                      brigade_delivered *delivered);

/* Whether the Writer is alive and has not given up, as far as can be known now; costs a system
 * call. Errors: as brigade_reader_empty_block(). */
BRIGADE_API int brigade_reader_check(brigade_reader *reader);

/* Gives up: the Writer gets code (a number of the application's) and reason (cut to 1024 bytes).
 * Calls that would wait or send fail with BRIGADE_ABORTED from then on; free the Reader. After the
 * end of the session nothing happens. */
BRIGADE_API int brigade_reader_abort(brigade_reader *reader, uint32_t code, const char *reason);

/* The first steps of a wait, for who sleeps in poll(), epoll or WaitForMultipleObjects(): says that
 * this end is about to sleep, and looks once more. *is_armed 1: wait until the handle is readable
 * (signalled), then call brigade_reader_disarm(), and look by calls with BRIGADE_NO_WAIT. 0: look
 * now. interests are BRIGADE_WAIT_..., of which there must be one.
 *
 * Errors: BRIGADE_OS. A session that has failed is something to look at: *is_armed is 0. */
BRIGADE_API int brigade_reader_arm(brigade_reader *reader, int interests, int *is_armed);

/* Ends what brigade_reader_arm() began. Errors: BRIGADE_OS. */
BRIGADE_API int brigade_reader_disarm(brigade_reader *reader);

/* What to wait for while this end is armed: the same in each call, and this end's own. Nothing may
 * be read from it, written to it, or closed. The first call makes it. Errors: BRIGADE_OS. */
BRIGADE_API int brigade_reader_handle(brigade_reader *reader, brigade_handle *handle);

/* Posts a letter to the Writer: at most BRIGADE_LETTER_MAX bytes (NULL for none), and a number of
 * the application's. Waits while 16 of them lie unread. Letters arrive in their order, but may
 * overtake blocks.
 *
 * Errors: as brigade_reader_empty_block(); BRIGADE_INVALID_USE if it is too long, or after
 * brigade_reader_close(). */
BRIGADE_API int brigade_reader_post(brigade_reader *reader, int64_t timeout_ms, uint16_t kind,
                                    const uint8_t *bytes, size_t len);

/* The Writer's next letter; BRIGADE_END if it has given its verdict and none is left.
 * Errors: as brigade_reader_empty_block(), after all letters that were posted before. */
BRIGADE_API int brigade_reader_letter(brigade_reader *reader, int64_t timeout_ms,
                                      brigade_letter *letter);

/* ---- The Writer --------------------------------------------------------------------------- */

/* Lets the Writer go; if the session has not ended, the Reader is told that it gave up. Blocks that
 * the caller has are not given back: they count as not delivered. Otherwise as
 * brigade_reader_free(). */
BRIGADE_API void brigade_writer_free(brigade_writer *writer);

/* As those of the Reader. */
BRIGADE_API int brigade_writer_partner(brigade_writer *writer, brigade_partner *partner);
BRIGADE_API uint64_t brigade_writer_epoch(brigade_writer *writer);
BRIGADE_API size_t brigade_writer_block_size(brigade_writer *writer);
BRIGADE_API size_t brigade_writer_block_count(brigade_writer *writer);
BRIGADE_API int brigade_writer_delivered(brigade_writer *writer, brigade_delivered *delivered);
BRIGADE_API int brigade_writer_monitor(brigade_writer *writer, brigade_monitor **monitor);

/* The next filled block, in the order of sending; BRIGADE_END at the end of the data. Several may
 * be had at once, and given back in any order.
 *
 * Errors: BRIGADE_TIMED_OUT; BRIGADE_PARTNER_DIED and BRIGADE_PARTNER_ABORTED, after all blocks
 * that were sent before; BRIGADE_PROTOCOL_VIOLATION; BRIGADE_ABORTED. */
BRIGADE_API int brigade_writer_data_block(brigade_writer *writer, int64_t timeout_ms,
                                          brigade_data_block *block);

/* The newest of the blocks that were sent: older ones that lie there are given back unread, and
 * *skipped is how many. Otherwise as brigade_writer_data_block(). */
BRIGADE_API int brigade_writer_newest_block(brigade_writer *writer, int64_t timeout_ms,
                                            brigade_data_block *block, size_t *skipped);

/* Gives a block back: it is delivered. Never waits. */
BRIGADE_API int brigade_writer_done(brigade_writer *writer, brigade_data_block *block);

/* Makes the block one that any thread may drain and give back. *block is used up; its bytes stay
 * until the owned one is done. */
BRIGADE_API int brigade_writer_detach(brigade_writer *writer, brigade_data_block *block,
                                      brigade_owned_data **owned);

/* The verdict: everything was drained and is good, so first do what may still fail. Never waits.
 * delivered may be NULL.
 *
 * Errors: BRIGADE_INVALID_USE if the end of the data was not seen; BRIGADE_NOT_GIVEN_BACK if blocks
 * are still out, and then the Reader is told that there is no verdict; BRIGADE_PARTNER_ABORTED;
 * BRIGADE_ABORTED. */
BRIGADE_API int brigade_writer_finish(brigade_writer *writer, brigade_delivered *delivered);

/* As those of the Reader. */
BRIGADE_API int brigade_writer_check(brigade_writer *writer);
BRIGADE_API int brigade_writer_abort(brigade_writer *writer, uint32_t code, const char *reason);
BRIGADE_API int brigade_writer_arm(brigade_writer *writer, int interests, int *is_armed);
BRIGADE_API int brigade_writer_disarm(brigade_writer *writer);
BRIGADE_API int brigade_writer_handle(brigade_writer *writer, brigade_handle *handle);

/* As brigade_reader_post(), to the Reader, until brigade_writer_finish(). A Reader that waits for
 * the verdict takes none: use a limit where it may. */
BRIGADE_API int brigade_writer_post(brigade_writer *writer, int64_t timeout_ms, uint16_t kind,
                                    const uint8_t *bytes, size_t len);

/* The Reader's next letter; BRIGADE_END if it has closed and none is left. */
BRIGADE_API int brigade_writer_letter(brigade_writer *writer, int64_t timeout_ms,
                                      brigade_letter *letter);

/* ---- Blocks of their own ------------------------------------------------------------------ */

/* Where its bytes are: data and len of *block; the rest of it is zeros. */
BRIGADE_API int brigade_owned_empty_look(brigade_owned_empty *owned, brigade_empty_block *block);

/* Sends the first len bytes. It passes through the Reader, which is woken for it while it waits,
 * and otherwise passes it on in its next call. The block is used up, and *owned NULL, also after an
 * error: nothing is sent then, and the block is empty again.
 *
 * Errors: BRIGADE_INVALID_USE if len is beyond the block, after brigade_reader_close(), between two
 * Writers, or when the Reader is no more. */
BRIGADE_API int brigade_owned_empty_send(brigade_owned_empty **owned, size_t len, uint64_t tag,
                                         uint16_t kind, int more);

/* Gives the block back unsent. NULL is allowed. */
BRIGADE_API void brigade_owned_empty_free(brigade_owned_empty *owned);

/* Its bytes, and what it was sent with. */
BRIGADE_API int brigade_owned_data_look(brigade_owned_data *owned, brigade_data_block *block);

/* Gives the block back: it is delivered. It passes through the Writer as above. NULL is allowed. */
BRIGADE_API void brigade_owned_data_done(brigade_owned_data *owned);

/* ---- The monitor -------------------------------------------------------------------------- */

/* How far a session has come; zeros before the partner is there. */
typedef struct brigade_progress {
    brigade_delivered delivered;
    uint64_t blocks_under_way;                 /* sent and not given back */
    uint64_t waited_ns;                        /* how long this end has slept for its partner */
    uint64_t figures[BRIGADE_FIGURES];         /* this process's own numbers */
    uint64_t partner_figures[BRIGADE_FIGURES]; /* the partner's */
} brigade_progress;

/* The session does not end by it. NULL is allowed. */
BRIGADE_API void brigade_monitor_free(brigade_monitor *monitor);

/* Gives up for this process, from any thread: as brigade_reader_abort(). Each wait of its end
 * returns. Only the first reason counts. Not in a signal handler. */
BRIGADE_API int brigade_monitor_abort(brigade_monitor *monitor, uint32_t code, const char *reason);

/* Waits until the session is over: BRIGADE_OK if it ended well.
 *
 * Errors: how it ended if not: BRIGADE_PARTNER_DIED, BRIGADE_PARTNER_ABORTED, BRIGADE_ABORTED;
 * BRIGADE_TIMED_OUT if it goes on. */
BRIGADE_API int brigade_monitor_watch(brigade_monitor *monitor, int64_t timeout_ms);

BRIGADE_API int brigade_monitor_progress(brigade_monitor *monitor, brigade_progress *progress);

/* Shows the partner a number, with an index below BRIGADE_FIGURES. */
BRIGADE_API int brigade_monitor_set_figure(brigade_monitor *monitor, size_t index, uint64_t value);

/* ---- Going on with another partner -------------------------------------------------------- */

/* What a Reader had sent, and its Writer had not given back when it was lost. One thread at a
 * time. */
typedef struct brigade_unreturned brigade_unreturned;

/* What is left of a Writer whose Reader was lost. One thread at a time. */
typedef struct brigade_survivor brigade_survivor;

/* After the Writer has died, given up or hung up. The Reader is used up, and *reader NULL, also
 * after an error; blocks that the caller has are empty again.
 *
 * Errors: BRIGADE_INVALID_USE if the Writer is still there or has given its verdict, or if this
 * process gave up before; BRIGADE_PROTOCOL_VIOLATION. */
BRIGADE_API int brigade_reader_into_unreturned(brigade_reader **reader,
                                               brigade_unreturned **unreturned);

/* The same for a Writer that is still there, and not fit: it gets code and reason. */
BRIGADE_API int brigade_reader_dismiss(brigade_reader **reader, uint32_t code, const char *reason,
                                       brigade_unreturned **unreturned);

/* How many blocks these are; 0 if it fails. */
BRIGADE_API size_t brigade_unreturned_count(brigade_unreturned *unreturned);

/* Calls keep with each block, in the order of sending, to be looked at only. Where it returns 0 the
 * block is not sent again. It must return, and not call brigade for this object. */
BRIGADE_API int brigade_unreturned_retain(brigade_unreturned *unreturned,
                                          int (*keep)(void *context,
                                                      const brigade_data_block *block),
                                          void *context);

/* 1 if the Reader was closed, so that brigade_unreturned_rejoin() closes it again. */
BRIGADE_API int brigade_unreturned_is_closed(brigade_unreturned *unreturned);

/* The data has not ended after all. */
BRIGADE_API int brigade_unreturned_reopen(brigade_unreturned *unreturned);

/* Joins another Writer, as brigade_join() does. What was not given back is sent again first. The
 * options must have the same blocks. After an error it can be called again; after a success free
 * the object.
 *
 * Errors: as brigade_join(). */
BRIGADE_API int brigade_unreturned_rejoin(brigade_unreturned *unreturned, const char *name,
                                          const brigade_options *options, brigade_reader **reader);

/* Gives the place up, if it was kept and not used. NULL is allowed. */
BRIGADE_API void brigade_unreturned_free(brigade_unreturned *unreturned);

/* After the Reader was lost, and all that it had sent was taken. The Writer is used up, and *writer
 * NULL, also after an error.
 *
 * Errors: BRIGADE_INVALID_USE if the Reader is still there, if not all was taken, if the Reader has
 * closed, or if this process gave up before; BRIGADE_PROTOCOL_VIOLATION. */
BRIGADE_API int brigade_writer_into_survivor(brigade_writer **writer, brigade_survivor **survivor);

/* The same for a Reader that is still there, and not fit: it gets code and reason. */
BRIGADE_API int brigade_writer_dismiss(brigade_writer **writer, uint32_t code, const char *reason,
                                       brigade_survivor **survivor);

/* Joins another Reader; otherwise as brigade_unreturned_rejoin(). */
BRIGADE_API int brigade_survivor_rejoin(brigade_survivor *survivor, const char *name,
                                        const brigade_options *options, brigade_writer **writer);

BRIGADE_API void brigade_survivor_free(brigade_survivor *survivor);

#ifdef __cplusplus
}
#endif

#endif
