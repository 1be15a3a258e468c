//! The keys of `[limits]`. Their defaults are those of [`Limits`]; a test holds
//! the two together.

use super::description::{Key, Value};
use super::setting::{Setting, store};
use super::values;
use crate::service::Limits;

pub(super) static LIMITS: [Setting<Limits>; 10] = [
    Setting {
        key: Key {
            name: "connections",
            value: Value::Default("0"),
            about: "Connections open at once: here those of the whole daemon, in a service's table its own. \
                    0 takes as many as the system allows (RLIMIT_NOFILE).",
        },
        only: None,
        set: |limits, value| store(&mut limits.connections, values::count(value)),
    },
    Setting {
        key: Key {
            name: "connections_per_peer",
            value: Value::Default("0"),
            about: "Connections open at once from one IP address.",
        },
        only: None,
        set: |limits, value| store(&mut limits.connections_per_peer, values::count(value)),
    },
    Setting {
        key: Key {
            name: "idle_timeout",
            value: Value::Default(r#""30m""#),
            about: "A connection on which nothing moves for this long is closed. It takes the place of the \
                    course's SO_RCVTIMEO, which a non-blocking loop has no use for. It is long because \
                    people sit in input() for minutes.",
        },
        only: None,
        set: |limits, value| store(&mut limits.idle_timeout, values::timeout(value)),
    },
    Setting {
        key: Key {
            name: "message_timeout",
            value: Value::Default(r#""10s""#),
            about: "From the first byte of an unfinished message to its last.",
        },
        only: None,
        set: |limits, value| store(&mut limits.message_timeout, values::timeout(value)),
    },
    Setting {
        key: Key {
            name: "send_timeout",
            value: Value::Default(r#""60s""#),
            about: "How long output may wait without the peer taking a byte of it. It takes the place of \
                    the course's SO_SNDTIMEO.",
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
            about: "Bytes queued for a peer that does not take them.",
        },
        only: None,
        set: |limits, value| store(&mut limits.output_limit, values::size(value)),
    },
    Setting {
        key: Key {
            name: "messages_per_second",
            value: Value::Sample("20"),
            about: "Messages per second from one member of a chat. Without: 20, with 100 at once, and no \
                    limit for peers on loopback. Once set it holds for those too, with five seconds' worth \
                    at once.",
        },
        only: None,
        set: |limits, value| store(&mut limits.messages_per_second, values::rate(value)),
    },
    Setting {
        key: Key {
            name: "datagrams_per_second",
            value: Value::Sample("1000"),
            about: "Answers per second to one source address over UDP. Without: 1000, and no limit for \
                    peers on loopback. Once set it holds for those too.",
        },
        only: None,
        set: |limits, value| store(&mut limits.datagrams_per_second, values::rate(value)),
    },
    Setting {
        key: Key {
            name: "drain_timeout",
            value: Value::Default(r#""5s""#),
            about: "How long output may take to go out once the daemon was told to end.",
        },
        only: None,
        set: |limits, value| store(&mut limits.drain_timeout, values::timeout(value)),
    },
];
