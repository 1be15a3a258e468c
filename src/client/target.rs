//! `HOST:PORT`: reading it, looking it up, and saying why it was not reached.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use onepoll::service::{Answer, Context, LARGEST_DATAGRAM, Lane};

/// What the user wants to reach: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Target, Self::Err> {
        let (host, port) =
            text.rsplit_once(':').ok_or("the port is missing; write HOST:PORT, as in localhost:3333")?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inside)) => inside,
            Some(None) => return Err("a bracket is not closed; write [ADDRESS]:PORT, as in [::1]:3333"),
            None if host.contains(':') => {
                return Err("an IPv6 address needs brackets; write [ADDRESS]:PORT, as in [::1]:3333");
            }
            None => host,
        };
        if host.is_empty() {
            return Err("the host is missing; write HOST:PORT, as in localhost:3333");
        }
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if port > 0 && is_number => Ok(Target { host: host.to_owned(), port }),
            _ => Err("the port is a number from 1 to 65535"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The addresses of a target, tried in the order in which they were found.
///
/// [`look_up`](Route::look_up), give the answer to [`found`](Route::found),
/// then ask for the [`current`](Route::current) address, and after each
/// failure for the [`next`](Route::next) one.
#[derive(Debug)]
pub struct Route {
    target: Target,
    addresses: Vec<SocketAddr>,
    at: usize,
}

type Found = io::Result<Vec<SocketAddr>>;

impl Route {
    /// A route to a target. A name has yet to be [looked up](Route::look_up); an address
    /// is known already.
    pub fn new(target: Target) -> Route {
        let address = target.host.parse::<IpAddr>().ok();
        let addresses = address.map(|ip| SocketAddr::new(ip, target.port)).into_iter().collect();
        Route { target, addresses, at: 0 }
    }

    /// A route to an address.
    pub fn to(address: SocketAddr) -> Route {
        let target = Target { host: address.ip().to_string(), port: address.port() };
        Route { target, addresses: vec![address], at: 0 }
    }

    /// Asks the system's resolver, off the loop since it may block.
    pub fn look_up(&self, cx: &mut Context<'_>) {
        let Target { host, port } = self.target.clone();
        cx.offload(Lane::Lookup, move || -> Found {
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
    }

    /// Takes the resolver's answer; an error is a sentence for the user.
    pub fn found(&mut self, answer: Answer) -> Result<SocketAddr, String> {
        let Target { host, .. } = &self.target;
        let found = answer.result.map_err(|error| format!("{host} cannot be looked up: {error}"))?;
        let addresses = match found.downcast::<Found>().map(|found| *found) {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(not_found(host, &error)),
            Err(_) => Vec::new(),
        };
        let first = addresses.first().copied();
        self.addresses = addresses;
        first.ok_or_else(|| format!("the host {host} has no address; check its name"))
    }

    /// The address that is being tried or has been reached.
    pub fn current(&self) -> Option<SocketAddr> {
        self.addresses.get(self.at).copied()
    }

    /// The address after the current one, which failed.
    pub fn next(&mut self) -> Option<SocketAddr> {
        self.at += 1;
        self.current()
    }

    /// Why the last of its addresses was not reached, as a sentence.
    pub fn unreachable(&self, error: &io::Error) -> String {
        let target = self;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{target} refused: nothing listens there; start the server, or check the port")
            }
            io::ErrorKind::TimedOut => {
                format!("{target} does not answer: check the address, and whether a firewall is in between")
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                let cause = cause(error);
                format!(
                    "{target} cannot be reached, there is no route to it ({cause}): check the address and the network"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!("the system does not permit sending to {target}: check the address")
            }
            _ if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                format!(
                    "the message is too long for one datagram to {target}: send at most {LARGEST_DATAGRAM} bytes"
                )
            }
            _ => format!("{target} cannot be reached: {error}; check the address"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

/// The system's name of an error, without its number.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn not_found(host: &str, error: &io::Error) -> String {
    // std has no kind for what getaddrinfo says; its text does.
    let error = error.to_string();
    let cause = error.rsplit(": ").next().unwrap_or(&error);
    format!("the host {host} was not found ({cause}): check its spelling, or give its address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_and_written_back() {
        for text in ["localhost:3333", "127.0.0.1:1", "[::1]:65535", "서버.example:80"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn addresses_are_tried_in_the_order_found_and_the_name_is_what_is_spoken_of() {
        let mut route = Route::new("서버:80".parse().unwrap());
        let addresses: Vec<SocketAddr> =
            ["[::1]:80", "127.0.0.1:80"].map(|text| text.parse().unwrap()).to_vec();
        let found: Found = Ok(addresses.clone());
        let first = route.found(Answer { connection: None, result: Ok(Box::new(found)) });
        assert_eq!((first, route.current()), (Ok(addresses[0]), Some(addresses[0])));
        assert_eq!(route.next(), Some(addresses[1]));
        assert_eq!(route.next(), None);
        assert!(route.unreachable(&io::ErrorKind::ConnectionRefused.into()).starts_with("서버:80 refused"));
    }

    #[test]
    fn a_missing_route_is_reported_in_the_systems_words_too() {
        let error = io::Error::from_raw_os_error(nix::libc::ENETUNREACH);
        let said = Route::to(([9, 9, 9, 9], 9).into()).unreachable(&error);
        assert!(said.contains("no route to it (Network is unreachable): check"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("localhost", "port is missing"),
            (":3333", "host is missing"),
            ("::1:3333", "brackets"),
            ("[::1:3333", "bracket is not closed"),
            ("localhost:", "number from 1"),
            ("localhost:0", "number from 1"),
            ("localhost:+80", "number from 1"),
            ("localhost:65536", "number from 1"),
        ] {
            let said = text.parse::<Target>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
