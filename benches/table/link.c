/* A wide-area link between two network namespaces of its own, for machines whose kernel cannot delay packets.
 *
 *   link RTT_MS MBIT_PER_S [MTU]
 *
 * Makes two network namespaces with a TUN device each, 10.77.0.1 (the client's) and 10.77.0.2 (the server's), which lead
 * nowhere but to each other. Each packet arrives half an RTT later, at no more than the given rate (0: no limit).
 * Prints "ready CLIENT SERVER": descriptors of this process that are the namespaces, for `nsenter --net=/proc/PID/fd/N`.
 *
 * It is C because a TUN device is opened by ioctl(), which no safe Rust has, and the package forbids all other.
 *
 * Lines on the standard input: "zero" forgets what was counted, "read" prints it as JSON, "rtt MS" changes the delay. At
 * the end of the input it ends; the namespaces and devices go with it and with the last process in them, so nothing is left
 * behind however the caller ends.
 *
 * What is counted, from IPv4 and TCP headers, with port 21 as the control connections' own:
 *   round_trips: packets of the client with commands that follow a reply on the same control connection, or begin it. What
 *     is sent before a reply has *arrived* follows nothing: commands sent together are one round trip.
 *   control_connections, data_connections: SYNs of the client.
 *   sent_bytes, received_bytes: payload on data connections, from the client's side; control_* the same for commands.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1 << 16, PACKET_MAX = 1 << 16, CONTROL_PORT = 21 };
static const long long QUEUE_BYTES = 64LL << 20;

struct packet {
    long long due;
    int length;
    unsigned char *bytes;
};

/* One direction: read from `from`, hold for half an RTT, write to `to`. */
struct way {
    int from, to, is_to_server;
    long long ps_per_byte;
    struct packet ring[SLOTS];
    unsigned head, tail;
    long long queued;
    pthread_mutex_t lock;
    pthread_cond_t filled;
};

struct counts {
    atomic_llong round_trips, control_connections, data_connections, packets, dropped;
    atomic_llong sent_bytes, received_bytes, control_sent_bytes, control_received_bytes;
};

static struct way ways[2];
static struct counts counts;
static atomic_llong delay_ns;
/* By the client's port: whether the last payload that it has seen on this control connection was a reply. */
static atomic_char was_reply[1 << 16];

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Counts a packet: one of the client as it is sent, one of the server as it arrives, so that "after" is as the client sees it. */
static void count(const unsigned char *p, int length, int is_to_server)
{
    if (length < 40 || p[0] >> 4 != 4 || p[9] != IPPROTO_TCP)
        return;
    int ip_length = (p[0] & 15) * 4, total = p[2] << 8 | p[3];
    const unsigned char *tcp = p + ip_length;
    if (total > length || ip_length + 20 > total)
        return;
    int payload = total - ip_length - (tcp[12] >> 4) * 4;
    int source = tcp[0] << 8 | tcp[1], target = tcp[2] << 8 | tcp[3];
    int is_control = (is_to_server ? target : source) == CONTROL_PORT;
    int client = is_to_server ? source : target;
    counts.packets++;
    /* SYN without ACK. */
    if (is_to_server && (tcp[13] & 0x12) == 0x02) {
        *(is_control ? &counts.control_connections : &counts.data_connections) += 1;
        if (is_control)
            was_reply[client] = 1;
    }
    if (payload <= 0)
        return;
    if (!is_control) {
        *(is_to_server ? &counts.sent_bytes : &counts.received_bytes) += payload;
        return;
    }
    *(is_to_server ? &counts.control_sent_bytes : &counts.control_received_bytes) += payload;
    if (is_to_server && was_reply[client])
        counts.round_trips++;
    was_reply[client] = !is_to_server;
}

static _Noreturn void *receive(void *arg)
{
    struct way *w = arg;
    unsigned char *buffer = malloc(PACKET_MAX);
    long long line_free = 0;
    for (;;) {
        int n = read(w->from, buffer, PACKET_MAX);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            die("read from the device");
        }
        long long t = now();
        if (w->is_to_server)
            count(buffer, n, 1);
        /* The line sends one packet after another at its rate; then the packet travels. */
        if (line_free < t)
            line_free = t;
        line_free += n * w->ps_per_byte / 1000;
        pthread_mutex_lock(&w->lock);
        /* A full buffer drops, as a router's does. */
        if (w->head - w->tail < SLOTS && w->queued + n <= QUEUE_BYTES) {
            struct packet *p = &w->ring[w->head++ % SLOTS];
            p->due = line_free + delay_ns;
            p->length = n;
            p->bytes = malloc(n);
            memcpy(p->bytes, buffer, n);
            w->queued += n;
            pthread_cond_signal(&w->filled);
        } else {
            counts.dropped++;
        }
        pthread_mutex_unlock(&w->lock);
    }
}

static _Noreturn void *deliver(void *arg)
{
    struct way *w = arg;
    prctl(PR_SET_TIMERSLACK, 1000);
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (w->head == w->tail)
            pthread_cond_wait(&w->filled, &w->lock);
        struct packet p = w->ring[w->tail++ % SLOTS];
        w->queued -= p.length;
        pthread_mutex_unlock(&w->lock);
        if (p.due > now()) {
            struct timespec due = { p.due / 1000000000LL, p.due % 1000000000LL };
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
            }
        }
        if (!w->is_to_server)
            count(p.bytes, p.length, 0);
        if (write(w->to, p.bytes, p.length) < 0 && errno != EINVAL && errno != ENOBUFS && errno != EIO)
            die("write to the device");
        free(p.bytes);
    }
}

/* A new network namespace, which this thread is in from then on, and a device in it. */
static int open_end(const char *address, int mtu, int *namespace)
{
    if (unshare(CLONE_NEWNET) < 0)
        die("unshare");
    *namespace = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int device = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (*namespace < 0 || device < 0)
        die("/dev/net/tun");
    struct ifreq request = { .ifr_name = "wide", .ifr_flags = IFF_TUN | IFF_NO_PI };
    if (ioctl(device, TUNSETIFF, &request) < 0)
        die("TUNSETIFF");
    char command[256];
    snprintf(command, sizeof command,
             "ip addr add %s/24 dev wide && ip link set wide mtu %d txqueuelen 10000 up && ip link set lo up", address, mtu);
    if (system(command) != 0) {
        fprintf(stderr, "link: could not set up %s\n", address);
        exit(1);
    }
    return device;
}

static void print_counts(void)
{
    printf("{\"round_trips\": %lld, \"control_connections\": %lld, \"data_connections\": %lld, \"packets\": %lld, "
           "\"dropped\": %lld, \"sent_bytes\": %lld, \"received_bytes\": %lld, \"control_sent_bytes\": %lld, "
           "\"control_received_bytes\": %lld}\n",
           counts.round_trips, counts.control_connections, counts.data_connections, counts.packets, counts.dropped,
           counts.sent_bytes, counts.received_bytes, counts.control_sent_bytes, counts.control_received_bytes);
}

static void zero_counts(void)
{
    atomic_llong *each = (atomic_llong *)&counts;
    for (size_t i = 0; i < sizeof counts / sizeof *each; i++)
        each[i] = 0;
    puts("{}");
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: link RTT_MS MBIT_PER_S [MTU]\n");
        return 2;
    }
    double mbit = atof(argv[2]);
    int mtu = argc > 3 ? atoi(argv[3]) : 1500, namespaces[2], devices[2];
    delay_ns = atof(argv[1]) * 1e6 / 2;
    /* It must wake in time on a busy machine too; without the right to ask for it, it runs as it is. */
    setpriority(PRIO_PROCESS, 0, -15);
    devices[0] = open_end("10.77.0.1", mtu, &namespaces[0]);
    devices[1] = open_end("10.77.0.2", mtu, &namespaces[1]);
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        ways[i].from = devices[i];
        ways[i].to = devices[!i];
        ways[i].is_to_server = i == 0;
        ways[i].ps_per_byte = mbit > 0 ? 8e6 / mbit : 0;
        pthread_mutex_init(&ways[i].lock, NULL);
        pthread_cond_init(&ways[i].filled, NULL);
        if (pthread_create(&thread, NULL, receive, &ways[i]) || pthread_create(&thread, NULL, deliver, &ways[i]))
            die("pthread_create");
    }
    printf("ready %d %d\n", namespaces[0], namespaces[1]);
    fflush(stdout);
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "zero\n") == 0) {
            zero_counts();
        } else if (strcmp(line, "read\n") == 0) {
            print_counts();
        } else if (strncmp(line, "rtt ", 4) == 0) {
            delay_ns = atof(line + 4) * 1e6 / 2;
            puts("{}");
        } else {
            puts("{\"error\": \"no such request\"}");
        }
        fflush(stdout);
    }
    return 0;
}
