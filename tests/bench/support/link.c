/* Joins two network namespaces by one slow and lossy line, and notes what went over it.

     link NS_A NS_B DEVICE RATE DELAY LOSS QUEUE SEED

   RATE bytes a second, DELAY one way in microseconds, LOSS packets in a million, QUEUE bytes that may wait.
   The same for both directions. Makes a TUN device of this name in each namespace, prints "ready NANOSECONDS"
   (of the monotonic clock), and carries packets until stdin ends. Then it prints "late NANOSECONDS", how much too late
   a packet was delivered at worst, and one line for each 10 ms since "ready", of what went from A to B:

     most bytes that waited | bytes delivered of flow 0 | of flow 1 | packets dropped for want of room

   A packet's flow is the last byte of its IPv4 source, less one: 10.x.x.1 is flow 0, 10.x.x.2 is flow 1.

   The line is computed, not acted: a packet that enters knows at once when it will have left, for it leaves after all
   that entered before it. One that chance will lose takes its time on the line like any other. Time that the machine
   takes from this process is the line's error, so it runs before all others where it may, those that it serves among them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define SAMPLE (SECOND / 100)
#define LARGEST 2048 /* bytes; the devices' MTU is 1500 */
#define TURN 64      /* packets taken from one side before the other has its turn */
#define FLOWS 2

struct packet {
    struct packet *next;
    int64_t due;
    uint16_t length;
    uint8_t bytes[];
};

struct sample {
    int64_t waiting, delivered[FLOWS], dropped;
};

struct direction {
    int from, to;
    struct packet *first, **end; /* in the order in which they are due */
    int64_t free_at;             /* when the last bit of all that has entered will have left */
    uint64_t chance;
    bool noted;
};

static double rate, loss;
static int64_t delay, room;
static int64_t began, late;
static struct sample *samples;
static size_t sample_count;

static void fail(const char *what)
{
    fprintf(stderr, "The link cannot be made: %s: %s.\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* Return the next of a fixed sequence of numbers from 0 to 1 (xorshift64*; Marsaglia, Vigna). */
static double next_chance(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 0x2545F4914F6CDD1DULL) >> 11) / (double)(1ULL << 53);
}

static struct sample *sample_at(int64_t time)
{
    size_t index = (size_t)((time - began) / SAMPLE);
    if (index >= sample_count) {
        size_t count = 2 * index + 1024;
        samples = realloc(samples, count * sizeof *samples);
        if (!samples)
            fail("memory");
        memset(samples + sample_count, 0, (count - sample_count) * sizeof *samples);
        sample_count = count;
    }
    return &samples[index];
}

/* Let one packet enter the queue, if there is room, and reckon when it will be at the other end. */
static void enter(struct direction *line, const uint8_t *bytes, size_t length, int64_t time)
{
    if (line->free_at < time)
        line->free_at = time;
    int64_t waiting = (int64_t)((double)(line->free_at - time) * rate / SECOND) + (int64_t)length;
    bool fits = waiting <= room;
    if (line->noted) {
        struct sample *sample = sample_at(time);
        sample->dropped += !fits;
        if (fits && waiting > sample->waiting)
            sample->waiting = waiting;
    }
    if (!fits)
        return;
    line->free_at += (int64_t)((double)length * SECOND / rate);
    if (next_chance(&line->chance) < loss)
        return;
    struct packet *packet = malloc(sizeof *packet + length);
    if (!packet)
        fail("memory");
    packet->next = NULL;
    packet->due = line->free_at + delay;
    packet->length = (uint16_t)length;
    memcpy(packet->bytes, bytes, length);
    *line->end = packet;
    line->end = &packet->next;
}

/* Take what the namespace sends; other than IPv4 there is only the chatter of IPv6, which nobody answers. */
static void take(struct direction *line)
{
    uint8_t bytes[LARGEST];
    for (int count = 0; count < TURN; count++) {
        ssize_t length = read(line->from, bytes, sizeof bytes);
        if (length <= 0)
            return;
        if (length >= 20 && bytes[0] >> 4 == 4)
            enter(line, bytes, (size_t)length, now());
    }
}

static void deliver(struct direction *line)
{
    struct packet *packet;
    int64_t time = now();
    while ((packet = line->first) && packet->due <= time) {
        if (time - packet->due > late)
            late = time - packet->due;
        unsigned flow = packet->bytes[15] - 1u;
        if (line->noted && flow < FLOWS)
            sample_at(packet->due)->delivered[flow] += packet->length;
        if (write(line->to, packet->bytes, packet->length) < 0 && errno != EAGAIN && errno != EIO)
            fail("a device does not take packets");
        line->first = packet->next;
        if (!line->first)
            line->end = &line->first;
        free(packet);
    }
}

static int open_device(const char *namespace, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int there = open(path, O_RDONLY | O_CLOEXEC);
    if (there < 0 || setns(there, CLONE_NEWNET) < 0)
        fail(path);
    close(there);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0)
        fail("/dev/net/tun");
    return device;
}

/* Wait until a packet comes or is due; return false once stdin has ended. */
static bool wait_for(struct direction lines[2])
{
    int64_t due = INT64_MAX;
    for (int side = 0; side < 2; side++)
        if (lines[side].first && lines[side].first->due < due)
            due = lines[side].first->due;
    struct timespec *limit = NULL, left;
    if (due != INT64_MAX) {
        int64_t span = due - now();
        if (span < 0)
            span = 0;
        left = (struct timespec){span / SECOND, span % SECOND};
        limit = &left;
    }
    struct pollfd ready[3] = {{0, POLLIN, 0}, {lines[0].from, POLLIN, 0}, {lines[1].from, POLLIN, 0}};
    if (ppoll(ready, 3, limit, NULL) < 0 && errno != EINTR)
        fail("poll");
    char byte;
    return !ready[0].revents || read(0, &byte, 1) > 0;
}

int main(int count, char **words)
{
    if (count != 9) {
        fprintf(stderr, "link NS_A NS_B DEVICE RATE DELAY LOSS QUEUE SEED\n");
        return 2;
    }
    rate = atof(words[4]);
    delay = (int64_t)(atof(words[5]) * 1e3);
    loss = atof(words[6]) / 1e6;
    room = atoll(words[7]);
    uint64_t seed = strtoull(words[8], NULL, 10);

    int a = open_device(words[1], words[3]), b = open_device(words[2], words[3]);
    struct direction lines[2] = {{.from = a, .to = b, .noted = true}, {.from = b, .to = a}};
    for (int side = 0; side < 2; side++) {
        lines[side].end = &lines[side].first;
        lines[side].chance = (2 * seed + (uint64_t)side + 1) * 0x9E3779B97F4A7C15ULL; /* never 0: it would stay 0 */
    }
    struct sched_param first = {.sched_priority = 2};
    sched_setscheduler(0, SCHED_FIFO, &first);
    prctl(PR_SET_TIMERSLACK, 1);
    began = now();
    printf("ready %lld\n", (long long)began);
    fflush(stdout);

    while (wait_for(lines))
        for (int side = 0; side < 2; side++) {
            take(&lines[side]);
            deliver(&lines[side]);
        }

    size_t used = (size_t)((now() - began) / SAMPLE);
    printf("late %lld\n", (long long)late);
    for (size_t index = 0; index < used && index < sample_count; index++) {
        struct sample *sample = &samples[index];
        printf("%lld %lld %lld %lld\n", (long long)sample->waiting, (long long)sample->delivered[0],
               (long long)sample->delivered[1], (long long)sample->dropped);
    }
    return 0;
}
