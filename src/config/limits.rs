//! The keys of `[limits]`. Their defaults are those of [`Limits`]; a test compares the
//! two.

use super::description::{Key, Value};
use super::setting::{Only, Setting, store};
use super::values;
use crate::service::{Limits, Transport};

pub(super) static LIMITS: [Setting<Limits>; 10] = [
    Setting {
        key: Key {
            name: "connections",
            value: Value::Default("0"),
            about: "Connections open at once: here in the whole daemon, in a service's table for \
                    that service. 0 allows as many as the system does (RLIMIT_NOFILE).",
        },
        only: None,
        set: |limits, value| store(&mut limits.connections, values::count(value)),
    },
    Setting {
        key: Key {
            name: "connections_per_peer",
            value: Value::Sample("100"),
            about: "Connections open at once from one IP address. If unset: a quarter of `connections`, \
                    the service's and the whole daemon's, and no limit for peers on loopback. If set, \
                    it applies to those too, and in each service by itself.",
        },
        only: None,
        set: |limits, value| store(&mut limits.connections_per_peer, values::count(value).map(Some)),
    },
    Setting {
        key: Key {
            name: "idle_timeout",
            value: Value::Default(r#""30m""#),
            about: "A connection on which nothing moves for this long is closed. It takes the place \
                    of the course's SO_RCVTIMEO, which a non-blocking loop has no use for. It is \
                    long because people sit in input() for minutes.",
        },
        only: None,
        set: |limits, value| store(&mut limits.idle_timeout, values::timeout(value)),
    },
    Setting {
        key: Key {
            name: "message_timeout",
            value: Value::Default(r#""10s""#),
            about: "The longest time from the first byte of a message to its last.",
        },
        only: None,
        set: |limits, value| store(&mut limits.message_timeout, values::timeout(value)),
    },
    Setting {
        key: Key {
            name: "send_timeout",
            value: Value::Default(r#""60s""#),
            about: "How long output may wait for the peer to acknowledge a byte of it. It takes the place \
                    of the course's SO_SNDTIMEO.",
        },
        only: None,
        set: |limits, value| store(&mut limits.send_timeout, values::timeout(value)),
    },
    Setting {
        key: Key {
            name: "line_length",
            value: Value::Default(r#""64 KiB""#),
            about: "Bytes per line: 64 B to 16 MiB. It cannot be turned off, since a line is kept in memory \
                    until it ends.",
        },
        only: None,
        set: |limits, value| store(&mut limits.line_length, values::line_length(value)),
    },
    Setting {
        key: Key {
            name: "output_limit",
            value: Value::Default(r#""1 MiB""#),
            about: "Bytes that may wait for a peer. Beyond it, a peer that takes nothing for 10 s is \
                    dropped, and so is a chat member that takes less than 64 KiB per second for 5 s; \
                    the chat waits for one that takes more.",
        },
        only: None,
        set: |limits, value| store(&mut limits.output_limit, values::size(value)),
    },
    Setting {
        key: Key {
            name: "messages_per_second",
            value: Value::Sample("20"),
            about: "Messages per second from one member of a room. If unset: 20, with bursts of \
                    100, and no limit for peers on loopback. If set, it applies to those too, with \
                    bursts of five seconds' worth.",
        },
        only: Some(Only::Declared),
        set: |limits, value| store(&mut limits.messages_per_second, values::rate(value)),
    },
    Setting {
        key: Key {
            name: "datagrams_per_second",
            value: Value::Sample("1000"),
            about: "Answers per second to one source address over UDP. If unset: 1000, and no limit \
                    for peers on loopback. If set, it applies to those too.",
        },
        only: Some(Only::Transport(Transport::Udp)),
        set: |limits, value| store(&mut limits.datagrams_per_second, values::rate(value)),
    },
    Setting {
        key: Key {
            name: "drain_timeout",
            value: Value::Default(r#""5s""#),
            about: "How long the daemon goes on sending what is in flight after it was told to end. Idle \
                    connections are closed at once.",
        },
        only: None,
        set: |limits, value| store(&mut limits.drain_timeout, values::timeout(value)),
    },
];
