//! What each kind of service can be told beyond addresses, limits and socket options.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The kind of a service with the keys of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Sends back what it receives.
    Echo(EchoConfig),
    /// Answers in upper case.
    Upper(UpperConfig),
    /// Tells the local time.
    Time,
    /// Answers 1 to 10 with the English word.
    Number,
    /// Sends JSON back in one form.
    Json(JsonConfig),
    /// One room.
    Chat(ChatConfig),
    /// Greets over UDP.
    Hello(HelloConfig),
    /// Broadcasts at an interval.
    Beacon(BeaconConfig),
    /// Answers who looks for a server.
    Discovery(DiscoveryConfig),
    /// Acknowledges what is sent to a group.
    Multicast(MulticastConfig),
}

impl Kind {
    /// Its name in the [catalog](crate::services::catalog).
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Echo(_) => "echo",
            Kind::Upper(_) => "upper",
            Kind::Time => "time",
            Kind::Number => "number",
            Kind::Json(_) => "json",
            Kind::Chat(_) => "chat",
            Kind::Hello(_) => "hello",
            Kind::Beacon(_) => "beacon",
            Kind::Discovery(_) => "discovery",
            Kind::Multicast(_) => "multicast",
        }
    }
}

/// Keys of `echo`.
#[derive(Debug, Clone, PartialEq)]
pub struct EchoConfig {
    /// Input that is exactly this is echoed, and ends the connection. Empty: nothing does.
    pub end_command: String,
}

impl Default for EchoConfig {
    fn default() -> Self {
        EchoConfig { end_command: "/end".into() }
    }
}

/// Keys of `upper`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpperConfig {
    /// Answer message after message instead of closing after the first one.
    pub keep_open: bool,
}

/// Keys of `json`.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonConfig {
    /// Write characters beyond ASCII as `\uXXXX`, as Python does.
    pub ensure_ascii: bool,
    /// Bytes of one value; a longer one is refused.
    pub value_size: usize,
}

impl Default for JsonConfig {
    fn default() -> Self {
        JsonConfig { ensure_ascii: true, value_size: 1024 * 1024 }
    }
}

/// Keys of `chat`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatConfig {
    /// A message goes to its sender too.
    pub echo_to_sender: bool,
}

/// Keys of `hello`.
#[derive(Debug, Clone, PartialEq)]
pub struct HelloConfig {
    /// The answer to every datagram.
    pub message: String,
}

impl Default for HelloConfig {
    fn default() -> Self {
        HelloConfig { message: "Hello UDP Client".into() }
    }
}

/// Keys of `beacon`.
#[derive(Debug, Clone, PartialEq)]
pub struct BeaconConfig {
    /// What it sends.
    pub message: String,
    /// From one datagram to the next; never zero.
    pub interval: Duration,
    /// Where it sends to: a broadcast address, or one host.
    pub address: Ipv4Addr,
}

impl BeaconConfig {
    /// The defaults: the whole loopback network for a service that is bound
    /// there, else everybody on the local network. IPv6 has no broadcast, so a
    /// service bound to an IPv6 address sends to the IPv4 counterpart.
    pub fn bound_to(bind: IpAddr) -> Self {
        let address = if bind.is_loopback() { LOOPBACK_BROADCAST } else { Ipv4Addr::BROADCAST };
        BeaconConfig { message: "broadcast message".into(), interval: Duration::from_secs(1), address }
    }
}

/// The broadcast address of 127.0.0.0/8.
pub(super) const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// Keys of `discovery`.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoveryConfig {
    /// The answer to every datagram.
    pub message: String,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        DiscoveryConfig { message: "receive message".into() }
    }
}

/// Keys of `multicast`.
#[derive(Debug, Clone, PartialEq)]
pub struct MulticastConfig {
    /// The group it joins and binds to.
    pub group: IpAddr,
    /// The address of the interface on which it joins; of the group's family.
    pub interface: IpAddr,
    /// The answer to the sender of every datagram.
    pub message: String,
}

impl MulticastConfig {
    /// The defaults: the course's group, on the interface of the bind address.
    pub fn bound_to(bind: IpAddr) -> Self {
        let group = Ipv4Addr::new(224, 0, 0, 255).into();
        MulticastConfig { group, interface: Self::interface_for(group, bind), message: "ACK".into() }
    }

    /// The interface of a service that is bound to `bind`, unless it names one:
    /// that address itself. An IPv6 address cannot name the interface of an
    /// IPv4 group; loopback and "every network" have a counterpart that can.
    pub(super) fn interface_for(group: IpAddr, bind: IpAddr) -> IpAddr {
        match (group, bind) {
            (IpAddr::V4(_), IpAddr::V6(bind)) if bind.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.into(),
            _ => bind,
        }
    }
}
