//! The keys of `[socket]`. Their defaults are those of [`SocketOptions`]; a test compares
//! the two.

use super::description::{Key, Value};
use super::setting::{Only, Setting, store};
use super::values;
use crate::service::{SocketOptions, Transport};

pub(super) static SOCKET_OPTIONS: [Setting<SocketOptions>; 12] = [
    Setting {
        key: Key {
            name: "reuse_address",
            value: Value::Default("true"),
            about: "SO_REUSEADDR: bind even if connections of an earlier run are in TIME_WAIT.",
        },
        only: None,
        set: |options, value| store(&mut options.reuse_address, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "reuse_port",
            value: Value::Default("false"),
            about: "SO_REUSEPORT: several daemons share a port, and the kernel distributes \
                    connections and datagrams among them, for instance to one daemon per core. \
                    Clients on different daemons do not meet then; and a daemon that is started \
                    twice by mistake takes half of the traffic without a word.",
        },
        only: None,
        set: |options, value| store(&mut options.reuse_port, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "receive_buffer",
            value: Value::Sample(r#""4 MiB""#),
            about: "SO_RCVBUF. If unset: 4 MiB for UDP, so that a burst is not lost, and the \
                    kernel's choice for TCP.",
        },
        only: None,
        set: |options, value| store(&mut options.receive_buffer, values::socket_buffer(value)),
    },
    Setting {
        key: Key {
            name: "send_buffer",
            value: Value::Sample(r#""256 KiB""#),
            about: "SO_SNDBUF. If unset: 4 MiB for UDP, so that what waits for a host that is \
                    gone does not keep others waiting, and the kernel's choice for TCP. With \
                    many clients that stop reading, a small one is better: the kernel holds up \
                    to 4 MiB for each of them.",
        },
        only: None,
        set: |options, value| store(&mut options.send_buffer, values::socket_buffer(value)),
    },
    Setting {
        key: Key {
            name: "keepalive",
            value: Value::Default("false"),
            about: "SO_KEEPALIVE, TCP: probe a peer that has been silent for hours.",
        },
        only: Some(Only::Transport(Transport::Tcp)),
        set: |options, value| store(&mut options.keepalive, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "linger",
            value: Value::Default("false"),
            about: "SO_LINGER, TCP: false, or for how many seconds a connection that the server has \
                    closed waits for its peer to take the rest and close too (false: 10). The \
                    option itself would make close(2) block everybody, so the loop waits instead. 0 \
                    makes every close a reset, which destroys unsent output.",
        },
        only: Some(Only::Transport(Transport::Tcp)),
        set: |options, value| store(&mut options.linger, values::linger(value)),
    },
    Setting {
        key: Key {
            name: "nodelay",
            value: Value::Default("true"),
            about: "TCP_NODELAY, TCP: send at once instead of waiting to fill a segment.",
        },
        only: Some(Only::Transport(Transport::Tcp)),
        set: |options, value| store(&mut options.nodelay, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "dont_route",
            value: Value::Default("false"),
            about: "SO_DONTROUTE: send only to hosts on directly connected networks.",
        },
        only: None,
        set: |options, value| store(&mut options.dont_route, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "broadcast",
            value: Value::Default("false"),
            about: "SO_BROADCAST, UDP: allow sending to broadcast addresses. A service that broadcasts \
                    always allows it.",
        },
        only: Some(Only::Transport(Transport::Udp)),
        set: |options, value| store(&mut options.broadcast, values::flag(value)),
    },
    Setting {
        key: Key {
            name: "ttl",
            value: Value::Sample("64"),
            about: "IP_TTL, and IP_MULTICAST_TTL to a group: 1 to 255 hops. If unset: the system's \
                    default, which is 1 for groups.",
        },
        only: None,
        set: |options, value| store(&mut options.ttl, values::integer(value, 1..=255).map(Some)),
    },
    Setting {
        key: Key {
            name: "backlog",
            value: Value::Default("4096"),
            about: "listen(2), TCP: connections that the kernel holds until they are accepted.",
        },
        only: Some(Only::Transport(Transport::Tcp)),
        set: |options, value| store(&mut options.backlog, values::integer(value, 1..=i32::MAX as u32)),
    },
    Setting {
        key: Key {
            name: "congestion",
            value: Value::Sample(r#""cubic""#),
            about: "TCP_CONGESTION, TCP: one of net.ipv4.tcp_available_congestion_control. If \
                    unset: the system's default.",
        },
        only: Some(Only::Transport(Transport::Tcp)),
        set: |options, value| store(&mut options.congestion, values::congestion(value)),
    },
];
