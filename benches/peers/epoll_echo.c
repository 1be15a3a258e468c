/*
 * The limit that the daemon is measured against: a TCP echo with nothing in it
 * that an echo can do without.
 *
 * Each connection is registered once, edge-triggered, for both directions.
 * Whatever one read returns is sent back at once, from the one buffer that all
 * connections share. A read that does not fill the buffer has drained the
 * socket: the next arrival is a new edge. So a message costs one recv, one
 * send and a share of one epoll_wait.
 *
 * Usage: epoll_echo BUFFER_BYTES
 * It takes a free port of 127.0.0.1, prints it, and serves until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_A_WAIT = 1024, BACKLOG = 4096 };

struct connection {
    int fd;
    /* The peer has half-closed: read on to the end, as no further edge will come. */
    int read_closed;
    /* Output that the socket refused. While there is any, nothing is read. */
    char *rest;
    size_t rest_length;
    size_t rest_sent;
};

static int epoll;
static char *buffer;
static size_t buffer_size;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int must_wait(ssize_t outcome)
{
    return outcome < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Returns how much the socket took; -1: the connection is broken. */
static ssize_t offer(int fd, const char *bytes, size_t length)
{
    ssize_t taken = send(fd, bytes, length, MSG_NOSIGNAL);
    return must_wait(taken) ? 0 : taken;
}

/* Returns 1: all of it is sent, 0: not yet, -1: the connection is broken. */
static int send_rest(struct connection *c)
{
    if (c->rest == NULL)
        return 1;
    ssize_t taken = offer(c->fd, c->rest + c->rest_sent, c->rest_length - c->rest_sent);
    if (taken < 0)
        return -1;
    c->rest_sent += (size_t)taken;
    if (c->rest_sent < c->rest_length)
        return 0;
    free(c->rest);
    c->rest = NULL;
    return 1;
}

static int keep_rest(struct connection *c, const char *bytes, size_t length)
{
    c->rest = malloc(length);
    if (c->rest == NULL)
        return -1;
    memcpy(c->rest, bytes, length);
    c->rest_length = length;
    c->rest_sent = 0;
    return 0;
}

/* Returns 0: wait for the next edge, -1: close. */
static int echo(struct connection *c)
{
    int all_out = send_rest(c);
    if (all_out <= 0)
        return all_out;
    for (;;) {
        ssize_t got = recv(c->fd, buffer, buffer_size, 0);
        if (must_wait(got))
            return 0;
        if (got <= 0)
            return -1;
        ssize_t taken = offer(c->fd, buffer, (size_t)got);
        if (taken < 0)
            return -1;
        if (taken < got)
            return keep_rest(c, buffer + taken, (size_t)(got - taken));
        if ((size_t)got < buffer_size && !c->read_closed)
            return 0;
    }
}

static void drop(struct connection *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
}

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                return;
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            fail("accept4");
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            fail("calloc");
        c->fd = fd;
        struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest) < 0)
            fail("epoll_ctl");
    }
}

static int listen_on_a_free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0
        || getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        fail("listening on 127.0.0.1");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    buffer_size = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (buffer_size == 0) {
        fprintf(stderr, "usage: epoll_echo BUFFER_BYTES\n");
        return 2;
    }
    buffer = malloc(buffer_size);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (buffer == NULL || epoll < 0)
        fail("starting");
    int listener = listen_on_a_free_port();
    struct epoll_event interest = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &interest) < 0)
        fail("epoll_ctl");

    static struct epoll_event events[EVENTS_A_WAIT];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_A_WAIT, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                c->read_closed = 1;
            if (echo(c) < 0)
                drop(c); /* safe: it has only one event in this batch */
        }
    }
}
