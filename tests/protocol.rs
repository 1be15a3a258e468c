//! The example exchanges of PROTOCOL.md happen as they are written there.
//!
//! Each fenced block that starts with "exchange" gets a daemon of its own.
//! Section 1 of PROTOCOL.md explains the notation; `exchange` parses it.

#[path = "support/exchange.rs"]
mod exchange;
mod support;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use exchange::{Action, Exchange, Step, exchanges, text_of};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use nix::sys::signal::Signal;
use onepoll::config::Transport;
use onepoll::service::Farewell;
use onepoll::services::CATALOG;
use socket2::SockRef;
use support::{Daemon, PATIENCE};

const DOCUMENT: &str = include_str!("../PROTOCOL.md");
const CTIME: &str = "%a %b %e %H:%M:%S %Y";
/// The daemon keeps its deadlines in whole milliseconds.
const CLOCK_GRAIN: Duration = Duration::from_millis(5);

#[test]
fn every_exchange_happens_as_written() {
    let failures: Vec<_> =
        exchanges(DOCUMENT).unwrap().iter().filter_map(|exchange| perform(exchange).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_service_has_an_exchange_over_each_of_its_transports() {
    let exchanges = exchanges(DOCUMENT).unwrap();
    for entry in CATALOG {
        for (transport, port) in [(Transport::Tcp, entry.tcp), (Transport::Udp, entry.udp)] {
            let count = exchanges
                .iter()
                .filter(|exchange| exchange.service == entry.name && exchange.speaks(transport))
                .count();
            assert_eq!(count > 0, port.is_some(), "{} over {transport}: {count} exchanges", entry.name);
        }
    }
}

#[test]
fn the_sentences_for_clients_that_are_turned_away_are_quoted() {
    use Farewell::{Full, Idle, MessageTimeout, TooLong, TooManyFromPeer};
    for why in [Full, TooManyFromPeer, Idle, MessageTimeout, TooLong] {
        assert!(DOCUMENT.contains(&format!("| `{why}` |")), "{why}");
    }
}

#[test]
fn an_exchange_that_differs_fails_with_its_line() {
    for (service, script, line, complaint) in [
        ("echo", "A connects\nA> \"one\"\nA< \"two\"", 5, "instead of \"two\""),
        ("echo", "A connects\nA> \"one\"", 2, "\"one\" came besides"),
        ("echo", "A connects\nA> \"/end\"\nA< \"/end\"\nA< \"x\"", 6, "ended"),
        ("number", "A connects\nA> \"1\"\nA< \"one\" after 1 s", 5, "too early"),
        ("web", "A connects\nA> \"x\\r\\n\\r\\n\"\nA< a head with \"HTTP/1.1 200 OK\"", 5, "has no"),
        ("hello", "D binds\nD> \"x\"", 2, "\"Hello UDP Client\" came besides"),
        ("hello", "D binds\nD> \"x\"\nD< \"Hello\"", 5, "instead of \"Hello\""),
        ("hello", "D binds\nD> \"x\"\nD< \"Hello UDP Client\" from 127.0.0.9", 5, "from 127.0.0.1"),
    ] {
        let document = format!("a sentence\n```exchange {service}\n{script}\n```\n");
        let failure = perform(&exchanges(&document).unwrap()[0]).unwrap_err();
        assert!(failure.starts_with(&format!("PROTOCOL.md:{line}: ")), "{failure}");
        assert!(failure.contains(complaint), "{failure}");
    }
}

#[test]
fn a_line_that_is_not_in_the_notation_is_an_error() {
    for line in ["A connect", "a connects", "A> one", "A> \"one", "A> \"\\q\"", "A< \"x\" after 1", "A"] {
        let document = format!("```exchange echo\n{line}\n```\n");
        assert!(exchanges(&document).unwrap_err().starts_with("PROTOCOL.md:2: "), "{line}");
    }
    assert!(exchanges("```exchange echo\n").is_err(), "a block must end");
}

/// Runs an exchange against a daemon of its own. An error names its line.
fn perform(exchange: &Exchange) -> Result<(), String> {
    let at = |line: usize| move |what: String| format!("PROTOCOL.md:{line}: {what}");
    let mut stage = Stage::set(exchange);
    for Step { line, peer, action } in &exchange.steps {
        stage.perform(peer, action).map_err(|what| format!("{peer}: {what}")).map_err(at(*line))?;
    }
    stage.finish().map_err(at(exchange.line))
}

/// A daemon with one service, and the peers that talk to it.
struct Stage {
    daemon: Daemon,
    service: String,
    peers: BTreeMap<String, Peer>,
    /// Bound to the port that the service sends to, before the service starts.
    listener: Option<UdpSocket>,
    /// When the previous step began.
    before: Instant,
}

enum Peer {
    Stream {
        socket: TcpStream,
        received: Vec<u8>,
        ended: bool,
    },
    /// `service` is where it sends to, and where answers come from unless the
    /// step says otherwise. The port of a service that only sends is unknown.
    Datagram {
        socket: UdpSocket,
        service: SocketAddr,
        knows_port: bool,
    },
}

impl Stage {
    fn set(exchange: &Exchange) -> Stage {
        let kind = CATALOG.iter().find(|kind| kind.name == exchange.service);
        let entry = kind.expect("the catalog has every service of the document");
        let hears_port = exchange.steps.iter().any(|step| step.action == Action::BindToServicePort);
        let listener = hears_port.then(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        let udp = listener.as_ref().map_or(0, |socket| socket.local_addr().unwrap().port());
        let mut config = format!("[services.{}]\n", exchange.service);
        for (key, port) in [("tcp", entry.tcp.map(|_| 0)), ("udp", entry.udp.map(|_| udp))] {
            if let Some(port) = port {
                config += &format!("{key} = {port}\n");
            }
        }
        config += &exchange.settings.join("\n");
        let config = support::config_in_own_folder(&format!("protocol-{}", exchange.line), &config);
        let daemon = Daemon::start(&["--config", config.to_str().unwrap()]);
        let service = exchange.service.clone();
        Stage { daemon, service, peers: BTreeMap::new(), listener, before: Instant::now() }
    }

    fn perform(&mut self, name: &str, action: &Action) -> Result<(), String> {
        let before = std::mem::replace(&mut self.before, Instant::now());
        match action {
            Action::Connect => {
                let socket = support::connect(self.daemon.tcp(&self.service));
                self.peers.insert(name.into(), Peer::Stream { socket, received: Vec::new(), ended: false });
            }
            Action::Bind(address) => {
                let socket = UdpSocket::bind((*address, 0)).unwrap();
                self.peers.insert(name.into(), datagram_peer(socket, self.daemon.udp(&self.service), true));
            }
            Action::BindToServicePort => {
                let socket = self.listener.take().ok_or("the port is taken already")?;
                self.peers.insert(name.into(), datagram_peer(socket, self.daemon.udp(&self.service), false));
            }
            Action::Close => {
                self.peers.remove(name).ok_or("is nobody")?;
            }
            _ => self.peers.get_mut(name).ok_or("is nobody")?.perform(action, before)?,
        }
        Ok(())
    }

    /// Nothing else may come: connections end in order and in silence. Once the
    /// daemon has ended, all datagrams that it sent have arrived.
    fn finish(mut self) -> Result<(), String> {
        for (name, peer) in &mut self.peers {
            if let Peer::Stream { socket, received, ended: false } = peer {
                // The server may have closed it after its end.
                let _ = socket.shutdown(Shutdown::Write);
                let rest = socket.read_to_end(received);
                rest.map_err(|error| format!("{name}: the connection fails at its end: {error}"))?;
                if !received.is_empty() {
                    return Err(format!("{name}: {} came besides", text_of(received)));
                }
            }
        }
        self.daemon.signal(Signal::SIGTERM);
        let (status, _) = self.daemon.wait();
        if !status.success() {
            return Err(format!("the daemon ended with {status}"));
        }
        for (name, peer) in &mut self.peers {
            peer.hear_nothing().map_err(|what| format!("{name}: {what}"))?;
        }
        Ok(())
    }
}

fn datagram_peer(socket: UdpSocket, service: SocketAddr, knows_port: bool) -> Peer {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_broadcast(true).unwrap();
    SockRef::from(&socket).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
    Peer::Datagram { socket, service, knows_port }
}

impl Peer {
    fn perform(&mut self, action: &Action, before: Instant) -> Result<(), String> {
        match (action, &mut *self) {
            (Action::Send { bytes, to: None }, Peer::Stream { socket, .. }) => {
                socket.write_all(bytes).map_err(|error| error.to_string())
            }
            (Action::Send { bytes, to }, Peer::Datagram { socket, service, .. }) => {
                let to = SocketAddr::new(to.unwrap_or(service.ip()), service.port());
                socket.send_to(bytes, to).map(|_| ()).map_err(|error| format!("to {to}: {error}"))
            }
            (Action::Hear { bytes, from, after }, _) => {
                self.hear(bytes, *from)?;
                match before.elapsed() {
                    early if early + CLOCK_GRAIN < *after => Err(format!("too early, after {early:?}")),
                    _ => Ok(()),
                }
            }
            (Action::HearTime { like }, _) => self.hear_time(like),
            (Action::HearHead { lines }, Peer::Stream { socket, received, .. }) => {
                hear_head(socket, received, lines)
            }
            (Action::HearEnd, Peer::Stream { socket, received, ended }) => {
                *ended = true;
                let rest = socket.read_to_end(received);
                rest.map_err(|error| format!("{} instead of an end", nothing_came(error.kind())))?;
                match received.is_empty() {
                    true => Ok(()),
                    false => Err(format!("{} instead of an end", text_of(received))),
                }
            }
            (Action::HearNothing, _) => self.hear_nothing(),
            (Action::HalfClose, Peer::Stream { socket, .. }) => {
                socket.shutdown(Shutdown::Write).map_err(|error| error.to_string())
            }
            (action, _) => Err(format!("cannot do this: {action:?}")),
        }
    }

    /// Takes the next bytes, or the next datagram, which must match.
    fn hear(&mut self, expected: &[u8], from: Option<IpAddr>) -> Result<(), String> {
        let differs = |heard: &[u8]| format!("{} instead of {}", text_of(heard), text_of(expected));
        match self {
            Peer::Stream { socket, received, .. } => {
                while received.len() < expected.len() && expected.starts_with(received) {
                    read_more(socket, received)
                        .map_err(|what| format!("{what} after {}", differs(received)))?;
                }
                if !received.starts_with(expected) {
                    return Err(differs(received));
                }
                received.drain(..expected.len());
            }
            Peer::Datagram { socket, service, knows_port } => {
                let (heard, source) =
                    receive(socket).map_err(|what| format!("{what} instead of {}", text_of(expected)))?;
                if heard != expected {
                    return Err(differs(&heard));
                }
                let from = from.unwrap_or(service.ip());
                if source.ip() != from || *knows_port && source.port() != service.port() {
                    return Err(format!("{} came from {source} instead of {from}", text_of(&heard)));
                }
            }
        }
        Ok(())
    }

    /// Takes a local time in the form of the sample.
    fn hear_time(&mut self, like: &[u8]) -> Result<(), String> {
        if jiff::fmt::strtime::parse(CTIME, like).is_err() {
            return Err(format!("{} is no time", text_of(like)));
        }
        let heard = match self {
            Peer::Stream { socket, received, .. } => {
                while received.len() < like.len() {
                    read_more(socket, received)?;
                }
                std::mem::take(received)
            }
            Peer::Datagram { socket, service, .. } => {
                let (heard, source) = receive(socket)?;
                if source != *service {
                    return Err(format!("the time came from {source} instead of {service}"));
                }
                heard
            }
        };
        let now = Timestamp::now().to_zoned(TimeZone::system());
        let recent =
            (0..PATIENCE.as_secs() as i64).map(|age| (&now - age.seconds()).strftime(CTIME).to_string());
        match recent.into_iter().any(|time| time.as_bytes() == heard) {
            true => Ok(()),
            false => Err(format!("{} is not the local time {}", text_of(&heard), now.strftime(CTIME))),
        }
    }

    /// Checks that nothing is there at this moment.
    fn hear_nothing(&mut self) -> Result<(), String> {
        let heard = match self {
            Peer::Stream { ended: true, .. } => return Ok(()),
            Peer::Stream { socket, received, .. } => {
                socket.set_nonblocking(true).unwrap();
                let _ = read_more(socket, received);
                socket.set_nonblocking(false).unwrap();
                (!received.is_empty()).then(|| text_of(received))
            }
            Peer::Datagram { socket, .. } => {
                socket.set_nonblocking(true).unwrap();
                let heard = receive(socket);
                socket.set_nonblocking(false).unwrap();
                heard.map(|(heard, _)| text_of(&heard)).ok()
            }
        };
        heard.map_or(Ok(()), |heard| Err(format!("{heard} came besides")))
    }
}

/// Takes everything up to the next empty line, which must begin with the first of these
/// lines and have the others.
fn hear_head(socket: &mut TcpStream, received: &mut Vec<u8>, lines: &[Vec<u8>]) -> Result<(), String> {
    let end = loop {
        match received.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => {
                read_more(socket, received).map_err(|what| format!("{what} after {}", text_of(received)))?
            }
        }
    };
    let head: Vec<u8> = received.drain(..end).collect();
    let heard: Vec<&[u8]> = head.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end()).collect();
    let is_first = lines.first().is_some_and(|first| heard[0] == *first);
    match lines.iter().find(|line| !heard.contains(&line.as_slice())) {
        None if is_first => Ok(()),
        missing => Err(format!(
            "{} has no {}",
            text_of(&head),
            text_of(missing.or(lines.first()).map_or(b"", |it| it))
        )),
    }
}

fn read_more(socket: &mut TcpStream, received: &mut Vec<u8>) -> Result<(), String> {
    let mut buffer = [0; 4096];
    match socket.read(&mut buffer) {
        Ok(0) => Err("the connection ended".into()),
        Ok(count) => {
            received.extend_from_slice(&buffer[..count]);
            Ok(())
        }
        Err(error) => Err(nothing_came(error.kind())),
    }
}

fn receive(socket: &UdpSocket) -> Result<(Vec<u8>, SocketAddr), String> {
    let mut buffer = vec![0; 65_536];
    let (count, from) = socket.recv_from(&mut buffer).map_err(|error| nothing_came(error.kind()))?;
    Ok((buffer[..count].to_vec(), from))
}

fn nothing_came(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::WouldBlock => "nothing came".into(),
        kind => kind.to_string(),
    }
}
