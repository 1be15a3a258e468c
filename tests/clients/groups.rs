//! discover, broadcast, multicast: on the loopback network only.

use std::net::UdpSocket;
use std::time::Duration;

use super::stage::{Live, ask, free_port, udp_server};

const HERE: &str = "127.255.255.255";

#[test]
fn discover_lists_who_answers() {
    let server = udp_server("127.255.255.255:0", |_| Some("여기\n".into()));
    let port = server.port().to_string();
    let ended = ask(&["discover", "--port", &port, "--broadcast", HERE, "--timeout", "300ms"]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let lines: Vec<Vec<&str>> = ended.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ADDRESS", "ANSWER", "ROUND", "TRIP"]);
    let [address, "여기", milliseconds, "ms"] = lines[1][..] else { panic!("{ended:?}") };
    assert_eq!(address, format!("127.0.0.1:{port}"));
    assert!((0.0..300.0).contains(&milliseconds.parse::<f64>().unwrap()), "{ended:?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn discover_says_when_nobody_answers() {
    let port = free_port().to_string();
    let ended = ask(&["discover", "--port", &port, "--broadcast", HERE, "--timeout", "100ms"]);
    ended.failed_saying(&["nobody", &format!("{HERE}:{port}"), "100ms"]);
}

#[test]
fn a_broadcast_is_sent_once_or_as_often_as_requested() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let to = format!("{HERE}:{}", socket.local_addr().unwrap().port());
    ask(&["broadcast", "send", &to, "하나"]).printed(&[]);
    ask(&["broadcast", "send", &to, "둘", "--every", "10ms", "--count", "3"]).printed(&[]);
    ask(&["broadcast", "send", &to, "끝"]).printed(&[]);
    let mut buffer = [0; 100];
    for expected in ["하나", "둘", "둘", "둘", "끝"] {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected.as_bytes());
    }
}

#[test]
fn a_broadcast_goes_on_until_it_is_interrupted() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let to = format!("{HERE}:{}", socket.local_addr().unwrap().port());
    let client = Live::start(&["broadcast", "send", &to, "안녕", "--every", "5ms"]);
    for _ in 0..5 {
        assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 6);
    }
    client.interrupt();
    client.end().printed(&[]);
}

#[test]
fn all_listeners_of_a_port_hear_a_broadcast() {
    let port = free_port();
    let listen = ["broadcast", "listen", &port.to_string(), "--count", "2"];
    let mut listeners = [Live::start(&listen), Live::start(&listen)];
    listeners.iter_mut().for_each(|listener| listener.wait_for_remark("listening"));
    // Messages from other programs that share the port are received too.
    let sender = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    sender.set_reuse_address(true).unwrap();
    sender.set_broadcast(true).unwrap();
    let here: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    sender.bind(&here.into()).unwrap();
    let everybody: std::net::SocketAddr = ([127, 255, 255, 255], port).into();
    for message in ["broadcast message", "안녕\n"] {
        sender.send_to(message.as_bytes(), &everybody.into()).unwrap();
    }
    for listener in listeners {
        listener.end().printed(&[
            &format!("from 127.0.0.1:{port}: broadcast message"),
            &format!("from 127.0.0.1:{port}: 안녕"),
        ]);
    }
}

#[test]
fn a_port_that_is_not_shared_says_so() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    ask(&["broadcast", "listen", &port]).failed_saying(&["port", &port, "used by a program"]);
}

#[test]
fn a_group_hears_and_answers_and_is_left_at_the_end() {
    for (group, interface) in [("239.255.77.1", "127.0.0.1"), ("224.0.0.251", "127.0.0.1")] {
        let group = format!("{group}:{}", free_port());
        let on = ["--interface", interface];
        let send = ["multicast", "send", &group, "안녕", "--ttl", "1", "--timeout", "300ms"];
        let send = [&send[..], &on].concat();
        let mut member = Live::start(&[&["multicast", "listen", &group, "--ack"], &on[..]].concat());
        let mut silent = Live::start(&[&["multicast", "listen", &group], &on[..]].concat());
        for listener in [&mut member, &mut silent] {
            listener.wait_for_remark("listening");
        }
        let sent = ask(&send);
        assert_eq!(sent.status, Some(0), "{sent:?}");
        assert_eq!(sent.out, format!("from 127.0.0.1:{}: ACK\n", group.rsplit_once(':').unwrap().1));
        for mut listener in [member, silent] {
            listener.wait_for_output(": 안녕\n");
            listener.interrupt();
            assert_eq!(listener.end().status, Some(0));
        }
        ask(&send).failed_saying(&["nobody", &group, "300ms"]);
    }
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    for line in [
        "listen 224.0.0.255:3333 --interface 9.9.9.9",
        "listen [ff15::77]:3333 --interface 2001:db8::9",
        "send 224.0.0.255:3333 x --interface 9.9.9.9",
        "send [ff15::77]:3333 x --interface 2001:db8::9",
    ] {
        let words: Vec<&str> = ["multicast"].into_iter().chain(line.split(' ')).collect();
        ask(&words).failed_saying(&["no interface of this machine has the address", words.last().unwrap()]);
    }
}

#[test]
fn a_message_that_is_too_long_for_a_group_says_so() {
    let message = "x".repeat(65_508);
    let on = ["--interface", "127.0.0.1"];
    let ended = ask(&[&["multicast", "send", "224.0.0.255:3333", &message], &on[..]].concat());
    ended.failed_saying(&["224.0.0.255:3333", "65508 bytes", "at most 65507"]);
}

/// The loopback network has no IPv6 multicast route unless somebody added one.
#[test]
fn a_group_without_a_route_reports_what_the_system_says() {
    let probe = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).unwrap();
    probe.set_multicast_if_v6(1).unwrap();
    let group: std::net::SocketAddr = "[ff15::77]:5990".parse().unwrap();
    let Err(error) = probe.connect(&group.into()) else { return };
    let cause = error.to_string().split(" (").next().unwrap().to_owned();
    let ended =
        ask(&["multicast", "send", "[ff15::77]:5990", "x", "--interface", "::1", "--timeout", "100ms"]);
    ended.failed_saying(&["[ff15::77]:5990", &cause, "--interface"]);
}
