/*
 * Connections that pipeline one line as fast as they can, and read what comes back.
 *
 * Usage: flood PORT CONNECTIONS SECONDS LINE [udp]
 * LINE may hold \r and \n. Each connection writes 64 KiB of such lines whenever the
 * kernel takes them, and opens anew when it is closed. Over UDP each socket sends one
 * line per datagram, 32 in a row, and reads all that has come before it sends more.
 * Prints how many bytes went and came, and how often a connection was closed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WRITE_BYTES = 65536, READ_BYTES = 262144, MOST = 1024 };

static struct sockaddr_in server = {.sin_family = AF_INET};
static char lines[WRITE_BYTES], answers[READ_BYTES];
static size_t length;
/* Where in its lines each connection is; a write may end inside one. */
static size_t at[MOST + 64];
static long long sent, received, closed;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void open_one(int poll) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || fd >= MOST + 64 || connect(fd, (struct sockaddr *)&server, sizeof server)) {
        perror("flood: cannot connect");
        exit(1);
    }
    at[fd] = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

/* Returns 0 once the connection is closed. */
static int serve(int fd, unsigned events) {
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t count = recv(fd, answers, sizeof answers, MSG_DONTWAIT);
        if (count == 0 || (count < 0 && errno != EAGAIN)) return 0;
        if (count > 0) received += count;
    }
    if (events & EPOLLOUT) {
        ssize_t count = send(fd, lines + at[fd], length - at[fd], MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN) return 0;
        if (count > 0) {
            sent += count;
            at[fd] = (at[fd] + count) % length;
        }
    }
    return 1;
}

static void flood_udp(int sockets, double seconds, char *line, size_t line_length) {
    static int fds[MOST];
    for (int i = 0; i < sockets; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&server, sizeof server)) {
            perror("flood: cannot connect");
            exit(1);
        }
    }
    enum { BATCH = 32 };
    struct iovec part = {.iov_base = line, .iov_len = line_length};
    static struct mmsghdr batch[BATCH];
    for (int i = 0; i < BATCH; i++) batch[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    for (double end = now() + seconds; now() < end;) {
        for (int i = 0; i < sockets; i++) {
            int went = sendmmsg(fds[i], batch, BATCH, MSG_DONTWAIT);
            if (went > 0) sent += went * (long long)line_length;
            for (ssize_t came; (came = recv(fds[i], answers, sizeof answers, MSG_DONTWAIT)) >= 0;) received += came;
        }
    }
}

int main(int count, char **arguments) {
    int is_udp = count == 6 && !strcmp(arguments[5], "udp");
    if (count != 5 && !is_udp) {
        fprintf(stderr, "usage: flood PORT CONNECTIONS SECONDS LINE [udp]\n");
        return 2;
    }
    server.sin_port = htons(atoi(arguments[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connections = atoi(arguments[2]);
    char line[4096];
    size_t line_length = 0;
    for (const char *text = arguments[4]; *text && line_length < sizeof line; text++) {
        int escaped = *text == '\\' && (text[1] == 'n' || text[1] == 'r');
        line[line_length++] = !escaped ? *text : *++text == 'n' ? '\n' : '\r';
    }
    if (connections < 1 || connections > MOST || !line_length) {
        fprintf(stderr, "flood: 1 to %d connections, and a line\n", MOST);
        return 2;
    }
    if (is_udp) {
        flood_udp(connections, atof(arguments[3]), line, line_length);
        printf("{\"sent\": %lld, \"received\": %lld, \"closed\": 0}\n", sent, received);
        return 0;
    }
    while (length + line_length <= sizeof lines) {
        memcpy(lines + length, line, line_length);
        length += line_length;
    }
    int poll = epoll_create1(0);
    for (int i = 0; i < connections; i++) open_one(poll);
    struct epoll_event events[MOST];
    for (double end = now() + atof(arguments[3]); now() < end;) {
        int ready = epoll_wait(poll, events, MOST, 100);
        for (int i = 0; i < ready; i++) {
            if (!serve(events[i].data.fd, events[i].events)) {
                close(events[i].data.fd);
                closed++;
                open_one(poll);
            }
        }
    }
    printf("{\"sent\": %lld, \"received\": %lld, \"closed\": %lld}\n", sent, received, closed);
    return 0;
}
