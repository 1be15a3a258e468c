//! The table of kinds: what can be served, and where it is served by default.

use std::net::IpAddr;

use crate::config::{
    BeaconConfig, ChatConfig, DiscoveryConfig, EchoConfig, HelloConfig, JsonConfig, Kind, MulticastConfig,
    UpperConfig,
};

/// One kind of service.
#[derive(Debug)]
pub struct Entry {
    /// What a config calls it: the default of `kind`.
    pub name: &'static str,
    /// Its default TCP port; `None` where the kind does not speak TCP.
    pub tcp: Option<u16>,
    /// Its default UDP port; `None` where the kind does not speak UDP.
    pub udp: Option<u16>,
    /// What it does, in one line.
    pub about: &'static str,
    /// Keys of its table that no limit, socket option or address is.
    pub keys: &'static [&'static str],
    /// Those keys at their defaults, for a service bound to the given address.
    pub default: fn(IpAddr) -> Kind,
}

/// Every kind, in the order in which people read about them.
pub static CATALOG: &[Entry] = &[
    Entry {
        name: "echo",
        tcp: Some(3333),
        udp: Some(3333),
        about: "sends back what it receives",
        keys: &["end_command"],
        default: |_| Kind::Echo(EchoConfig::default()),
    },
    Entry {
        name: "upper",
        tcp: Some(12000),
        udp: Some(12000),
        about: "answers in upper case, then closes",
        keys: &["keep_open"],
        default: |_| Kind::Upper(UpperConfig::default()),
    },
    Entry {
        name: "time",
        tcp: Some(5000),
        udp: Some(5000),
        about: "tells the local time, then closes",
        keys: &[],
        default: |_| Kind::Time,
    },
    Entry {
        name: "number",
        tcp: Some(2500),
        udp: Some(2500),
        about: "answers 1 to 10 with the English word",
        keys: &[],
        default: |_| Kind::Number,
    },
    Entry {
        name: "json",
        tcp: Some(9000),
        udp: None,
        about: "sends JSON back in the form of Python's json.dumps",
        keys: &["ensure_ascii", "value_size"],
        default: |_| Kind::Json(JsonConfig::default()),
    },
    Entry {
        name: "chat",
        tcp: Some(9999),
        udp: Some(9999),
        about: "one room: a message goes to every other member",
        keys: &["echo_to_sender"],
        default: |_| Kind::Chat(ChatConfig::default()),
    },
    Entry {
        name: "hello",
        tcp: None,
        udp: Some(20001),
        about: "answers every datagram with a greeting",
        keys: &["message"],
        default: |_| Kind::Hello(HelloConfig::default()),
    },
    Entry {
        name: "beacon",
        tcp: None,
        udp: Some(37020),
        about: "broadcasts a message at an interval",
        keys: &["message", "interval", "address"],
        default: |bind| Kind::Beacon(BeaconConfig::bound_to(bind)),
    },
    Entry {
        name: "discovery",
        tcp: None,
        udp: Some(37021),
        about: "answers those who look for a server by broadcast",
        keys: &["message"],
        default: |_| Kind::Discovery(DiscoveryConfig::default()),
    },
    Entry {
        name: "multicast",
        tcp: None,
        udp: Some(5005),
        about: "acknowledges what is sent to a multicast group",
        keys: &["group", "interface", "message"],
        default: |bind| Kind::Multicast(MulticastConfig::bound_to(bind)),
    },
];

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOG.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn every_row_makes_the_kind_it_names() {
        for entry in CATALOG {
            assert_eq!((entry.default)(Ipv4Addr::LOCALHOST.into()).name(), entry.name);
            assert!(
                std::ptr::eq(find(entry.name).unwrap(), entry),
                "{} stands in the table twice",
                entry.name
            );
        }
    }

    #[test]
    fn every_kind_speaks_some_transport() {
        assert!(CATALOG.iter().all(|entry| entry.tcp.is_some() || entry.udp.is_some()));
    }
}
