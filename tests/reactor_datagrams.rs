//! UDP on the reactor: batches, empty datagrams, errors, the loop guard, and
//! answers from the address that was asked.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use onepoll::reactor::{DatagramSpec, Limits, Rate, Reactor, SocketId};
use onepoll::service::{Context, Service};
use support::{PATIENCE, Running, eventually, udp};

struct Echo;

impl Service for Echo {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, datagram);
    }
}

fn host_at(reactor: &mut Reactor, name: &str, at: SocketAddr, limits: Limits) -> SocketAddr {
    reactor.host(name, Echo).limits(limits).udp(at).start().unwrap().1[0].address
}

fn host(reactor: &mut Reactor) -> SocketAddr {
    host_at(reactor, "test", ([127, 0, 0, 1], 0).into(), Limits::default())
}

#[test]
fn a_burst_comes_back_whole_with_its_empty_and_largest_datagrams() {
    let running = Running::start(host);
    let client = udp(running.made);
    socket2::SockRef::from(&client).set_recv_buffer_size(4 << 20).unwrap();
    let sizes = [0, 1, 3, 100, 1472, 9000, 65_507];
    for round in 0..20 {
        let sent: Vec<Vec<u8>> =
            (0..40).map(|number| vec![(round * number) as u8; sizes[number % sizes.len()]]).collect();
        for datagram in &sent {
            client.send(datagram).unwrap();
        }
        for datagram in &sent {
            let mut buffer = vec![0; 70_000];
            let count = client.recv(&mut buffer).unwrap();
            assert!(buffer[..count] == datagram[..], "{count} bytes instead of {}", datagram.len());
        }
    }
}

#[test]
fn a_client_that_is_gone_does_not_disturb_the_others() {
    let running = Running::start(host);
    for _ in 0..20 {
        // Answers to it meet a closed port, which the kernel reports to the
        // server.
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        gone.send_to(b"bye", running.made).unwrap();
        drop(gone);
        let client = udp(running.made);
        client.send("여전히".as_bytes()).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(client.recv(&mut buffer).unwrap(), 9);
    }
}

/// Echoes, and starts a conversation with others by itself.
struct Instigator {
    others: Vec<SocketAddr>,
}

impl Service for Instigator {
    type Session = ();

    fn socket(&mut self, _: u64, opened: std::io::Result<SocketId>, cx: &mut Context<'_>) {
        for other in &self.others {
            cx.send_to(*opened.as_ref().unwrap(), *other, b"ping");
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, datagram);
    }
}

/// Services that echo would answer each other forever once one of them began.
#[test]
fn services_of_one_reactor_do_not_answer_each_other() {
    let running = Running::start(|reactor| {
        let one = host(reactor);
        let wildcard = host_at(reactor, "wildcard", ([0, 0, 0, 0], 0).into(), Limits::default());
        let wildcard = SocketAddr::from(([127, 0, 0, 1], wildcard.port()));
        let instigator = Instigator { others: vec![one, wildcard] };
        reactor.host("instigator", instigator).udp(([127, 0, 0, 1], 0).into()).start().unwrap();
        one
    });
    let client = udp(running.made);
    client.send(b"x").unwrap();
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 1);
    let counted = running.finish();
    assert_eq!(counted.datagrams_dropped, 2, "{counted:?}");
}

/// The loop guard finds our own sockets however many there are, and forgets closed ones.
#[test]
fn none_of_many_sockets_is_answered_while_it_is_open() {
    let mut reactor = Reactor::new().unwrap();
    let mut ids = Vec::new();
    let mut addresses = Vec::new();
    for number in 0..300 {
        let host = reactor.host(&format!("echo {number}"), Echo).udp(([127, 0, 0, 1], 0).into());
        let (id, bound) = host.start().unwrap();
        ids.push(id);
        addresses.push(bound[0].address);
    }
    let (gone, open) = addresses.split_at(150);
    ids[..150].iter().for_each(|id| reactor.remove(*id));
    let instigator = Instigator { others: open.to_vec() };
    reactor.host("instigator", instigator).udp(([127, 0, 0, 1], 0).into()).start().unwrap();
    eventually("all are ignored", || {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        reactor.statistics().datagrams_dropped == 150
    });
    // Another program may have taken some of these ports meanwhile.
    let client = gone.iter().find_map(|address| UdpSocket::bind(address).ok()).unwrap();
    client.send_to("다시".as_bytes(), open[0]).unwrap();
    client.set_nonblocking(true).unwrap();
    eventually("a port that is no longer ours is answered", || {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        client.recv(&mut [0; 10]).is_ok_and(|count| count == "다시".len())
    });
    assert_eq!(reactor.statistics().datagrams_dropped, 150);
}

#[test]
fn ports_that_answer_by_themselves_are_not_answered() {
    let running = Running::start(host);
    // Low ports need privileges; without them there is nothing to test from.
    let Ok(chargen) = UdpSocket::bind("127.0.0.1:19") else {
        eprintln!("port 19 cannot be bound here");
        return;
    };
    chargen.send_to(b"loop", running.made).unwrap();
    let client = udp(running.made);
    client.send(b"x").unwrap();
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 1);
    assert_eq!(running.finish().datagrams_dropped, 1);
}

#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let running =
        Running::start(|reactor| host_at(reactor, "test", ([0, 0, 0, 0], 0).into(), Limits::default()));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for last in [1, 2, 77] {
        let asked = SocketAddr::from(([127, 0, 0, last], running.made.port()));
        client.send_to(b"who?", asked).unwrap();
        let (_, from) = client.recv_from(&mut [0; 10]).unwrap();
        assert_eq!(from, asked);
    }
}

/// Echoes, and answers `large` with more than fits into a datagram.
struct Oversized;

impl Service for Oversized {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let too_much = [b'x'; 70_000];
        cx.send_to(on, from, if datagram == b"large" { &too_much } else { datagram });
    }
}

/// The datagram that the kernel refused took the source address from the rest of its
/// batch, so that clients were answered from an address that they had not asked.
#[test]
fn a_refused_datagram_does_not_change_the_source_of_others() {
    let mut reactor = Reactor::new().unwrap();
    let any = ([0, 0, 0, 0], 0).into();
    let port = reactor.host("test", Oversized).udp(any).start().unwrap().1[0].address.port();
    let asked = SocketAddr::from(([127, 0, 0, 2], port));
    let [attacker, client] = [udp_bound(), udp_bound()];
    for (first, second) in [("x", "large"), ("large", "x"), ("large", "large")] {
        // All are one batch.
        attacker.send_to(first.as_bytes(), asked).unwrap();
        attacker.send_to(second.as_bytes(), asked).unwrap();
        (0..3).for_each(|_| assert_eq!(client.send_to("나".as_bytes(), asked).unwrap(), 3));
        for _ in 0..3 {
            reactor.turn(Some(Duration::from_millis(10))).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(client.recv_from(&mut [0; 10]).unwrap(), (3, asked));
        }
    }
    assert_eq!(reactor.statistics().datagrams_dropped, 4);
}

#[test]
fn a_wildcard_socket_answers_a_broadcast_from_an_address_of_its_own() {
    let running =
        Running::start(|reactor| host_at(reactor, "test", ([0, 0, 0, 0], 0).into(), Limits::default()));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_broadcast(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"anybody?", ("127.255.255.255", running.made.port())).unwrap();
    let (_, from) = client.recv_from(&mut [0; 10]).unwrap();
    assert_eq!(from.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
}

#[test]
fn ipv6_speaks_too() {
    let running = Running::start(|reactor| {
        let at = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 0));
        host_at(reactor, "test", at, Limits::default()).port()
    });
    let four = udp(([127, 0, 0, 1], running.made).into());
    let own = udp((std::net::Ipv6Addr::LOCALHOST, running.made).into());
    for client in [four, own] {
        client.send("육".as_bytes()).unwrap();
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 3);
    }
}

/// Forwards each datagram to a few addresses, some of which cannot be reached
/// from here.
struct Spread(Vec<SocketAddr>);

impl Service for Spread {
    type Session = ();

    fn datagram(&mut self, on: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.0.iter().for_each(|to| cx.send_to(on, *to, datagram));
    }
}

#[test]
fn an_address_of_the_other_family_costs_only_its_own_datagram() {
    let listeners: Vec<UdpSocket> = (0..3).map(|_| udp_bound()).collect();
    let [one, two, three] = [0, 1, 2].map(|at: usize| listeners[at].local_addr().unwrap());
    let stranger = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, one.port()));
    for to in [vec![one, stranger, two, three], vec![stranger, one, two, stranger, three, stranger]] {
        let refused = to.iter().filter(|to| **to == stranger).count() as u64;
        let running = Running::start(|reactor| {
            reactor.host("test", Spread(to)).udp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
        });
        udp(running.made).send("가".as_bytes()).unwrap();
        for listener in &listeners {
            assert_eq!(listener.recv(&mut [0; 10]).unwrap(), 3);
        }
        let counted = running.finish();
        assert_eq!((counted.datagrams_sent, counted.datagrams_dropped), (3, refused));
    }
}

fn udp_bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn answers_to_one_source_are_limited_if_the_limit_is_set() {
    let limits = Limits {
        datagrams_per_second: Rate { per_second: 1, burst: 3, loopback: true },
        ..Limits::default()
    };
    let running = Running::start(|reactor| host_at(reactor, "test", ([127, 0, 0, 1], 0).into(), limits));
    let client = udp(running.made);
    for _ in 0..10 {
        client.send(b"x").unwrap();
    }
    for _ in 0..3 {
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 1);
    }
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(client.recv(&mut [0; 10]).is_err(), "a fourth answer came");
}

#[test]
fn a_connected_socket_learns_that_nobody_listens() {
    struct Connected(mpsc::Sender<String>, SocketAddr);
    impl Service for Connected {
        type Session = ();
        fn start(&mut self, cx: &mut Context<'_>) {
            cx.open_socket(0, DatagramSpec::connected(self.1));
        }
        fn socket(&mut self, _: u64, opened: std::io::Result<SocketId>, cx: &mut Context<'_>) {
            match opened {
                Ok(own) => cx.send_to(own, self.1, b"anybody?"),
                Err(error) => self.0.send(error.kind().to_string()).unwrap(),
            }
        }
    }
    let (report, heard) = mpsc::channel();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _running = Running::start(move |reactor| {
        reactor.host("connected", Connected(report, nobody)).start().unwrap();
    });
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "connection refused");
}

/// Opens sockets, sends to the peer of each, and says what it is told of them.
struct Several(mpsc::Sender<(u64, Result<(), std::io::ErrorKind>)>, Vec<(u64, DatagramSpec)>);

impl Service for Several {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.1.iter().for_each(|(tag, spec)| cx.open_socket(*tag, spec.clone()));
    }

    fn socket(&mut self, tag: u64, opened: std::io::Result<SocketId>, cx: &mut Context<'_>) {
        let spec = self.1.iter().find(|(known, _)| *known == tag).map(|(_, spec)| spec);
        if let (Ok(own), Some(peer)) = (&opened, spec.and_then(|spec| spec.connect)) {
            cx.send_to(*own, peer, b"anybody?");
        }
        self.0.send((tag, opened.map(|_| ()).map_err(|error| error.kind()))).unwrap();
    }
}

#[test]
fn a_socket_is_told_of_by_its_tag_whether_it_opens_fails_or_finds_nobody() {
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused};
    let (report, heard) = mpsc::channel();
    let somebody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sockets = vec![
        (70, DatagramSpec::connected(somebody.local_addr().unwrap())),
        (80, DatagramSpec::connected(gone)),
        (u64::MAX, DatagramSpec::bound(([192, 0, 2, 1], 0).into())),
    ];
    let _running = Running::start(move |reactor| {
        let builder = reactor.host("several", Several(report, sockets));
        builder.udp(([127, 0, 0, 1], 0).into()).udp(([127, 0, 0, 2], 0).into()).start().unwrap();
    });
    let expected = [
        (0, Ok(())),
        (1, Ok(())),
        (70, Ok(())),
        (80, Ok(())),
        (u64::MAX, Err(AddrNotAvailable)),
        (80, Err(ConnectionRefused)),
    ];
    let told: Vec<_> = expected.iter().map(|_| heard.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(told, expected, "the sockets of the start have their numbers");
    somebody.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(somebody.recv(&mut [0; 16]).unwrap(), 8);
}

/// Sends datagrams of one length, except perhaps the last one, in one piece.
#[cfg(target_os = "linux")]
fn send_burst(client: &UdpSocket, burst: &[u8], segment: u16) {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
    use std::os::fd::AsRawFd;

    let piece = [std::io::IoSlice::new(burst)];
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let fd = client.as_raw_fd();
    let sent = sendmsg::<SockaddrStorage>(fd, &piece, &control, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(burst.len()));
}

/// Bursts that the client sends in one piece (UDP_SEGMENT) alternate with single
/// datagrams, so only some of what the server receives at once has to be cut.
#[cfg(target_os = "linux")]
#[test]
fn bursts_come_back_datagram_by_datagram_however_they_travel() {
    let running = Running::start(|reactor| {
        let one = host(reactor);
        (one, host_at(reactor, "wildcard", ([0, 0, 0, 0], 0).into(), Limits::default()).port())
    });
    let (one, wildcard) = running.made;
    for to in [one, ([127, 0, 0, 1], wildcard).into()] {
        let client = udp(to);
        socket2::SockRef::from(&client).set_recv_buffer_size(4 << 20).unwrap();
        for round in 0..60usize {
            let segment = [1200u16, 7, 501][round % 3];
            let length = segment as usize * 40 + round % segment as usize;
            let burst: Vec<u8> = (0..length).map(|at| (at * 31 + round) as u8).collect();
            send_burst(&client, &burst, segment);
            let single = vec![round as u8; round * 13];
            client.send(&single).unwrap();
            let mut buffer = vec![0; 70_000];
            for (number, expected) in burst.chunks(segment as usize).chain([single.as_slice()]).enumerate() {
                let count = client.recv(&mut buffer).unwrap();
                assert!(buffer[..count] == *expected, "round {round}, datagram {number}: {count} bytes");
            }
        }
    }
    let counted = running.finish();
    assert_eq!(counted.datagrams_dropped, 0, "{counted:?}");
}

/// An echo that announces when it is asked to hold, and does nothing until it may
/// go on.
#[cfg(target_os = "linux")]
struct Held {
    holds: mpsc::Sender<()>,
    may_go_on: mpsc::Receiver<()>,
}

#[cfg(target_os = "linux")]
impl Service for Held {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if datagram == b"hold" {
            self.holds.send(()).unwrap();
            self.may_go_on.recv_timeout(PATIENCE).unwrap();
        }
        cx.send_to(on, from, datagram);
    }
}

/// The kernel says how to cut a burst only while it is asked to coalesce. It must
/// not be asked to stop while a burst is queued, for instance after many single
/// datagrams that made coalescing look useless.
#[cfg(target_os = "linux")]
#[test]
fn bursts_stay_datagrams_whenever_coalescing_changes() {
    use std::iter;

    const SEGMENT: u16 = 500;
    let (holds, held) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let running = Running::start(move |reactor| {
        let service = Held { holds, may_go_on };
        reactor.host("test", service).udp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
    });
    let client = udp(running.made);
    socket2::SockRef::from(&client).set_recv_buffer_size(4 << 20).unwrap();
    // What waits while it holds arrives in full batches: first the single
    // datagrams.
    for singles in (0..=160).step_by(20) {
        client.send(b"hold").unwrap();
        held.recv_timeout(PATIENCE).unwrap();
        let single = [1; 100];
        for _ in 0..singles {
            client.send(&single).unwrap();
        }
        let bursts: Vec<Vec<u8>> = (2..5).map(|of| vec![of; usize::from(SEGMENT) * 32]).collect();
        for burst in &bursts {
            send_burst(&client, burst, SEGMENT);
        }
        go_on.send(()).unwrap();
        let after = bursts.iter().flat_map(|burst| burst.chunks(SEGMENT.into()));
        let answers = iter::once(&b"hold"[..]).chain(iter::repeat_n(&single[..], singles)).chain(after);
        let mut buffer = vec![0; 70_000];
        for (number, expected) in answers.enumerate() {
            let count = client.recv(&mut buffer).unwrap();
            assert!(buffer[..count] == *expected, "after {singles}, answer {number} has {count} bytes");
        }
    }
}
