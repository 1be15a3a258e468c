//! chat: keyboard and socket at once.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::stage::{Live, recv, run, tcp_server, udp_server};
use super::support::Daemon;

/// A server that tells all that one client sent, once it has left.
fn listener() -> (String, Receiver<String>) {
    let (sender, heard) = channel();
    let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        let mut all = String::new();
        connection.read_to_string(&mut all).unwrap();
        sender.send(all).unwrap();
    });
    (server.to_string(), heard)
}

#[test]
fn each_line_goes_out_with_the_name_in_front_and_bye_at_the_end() {
    for typed in ["하나\n\n둘\n", "하나\n둘\nbye\nnot sent\n", "하나\r\n둘\nq\n", "하나\n둘\n/end\n"]
    {
        let (server, heard) = listener();
        run(&["chat", &server, "--name", "홍길동"], typed.as_bytes()).printed(&[]);
        assert_eq!(heard.recv().unwrap(), "[홍길동] 하나[홍길동] 둘bye", "{typed:?}");
    }
}

#[test]
fn commands_for_the_server_go_out_without_the_name() {
    let (server, heard) = listener();
    let typed = "/help\n/who \n/nick 홍 길동\n/nick\n/whoever\n/nickname\n/me waves\n/quit now\n/quit\n";
    run(&["chat", &server, "--name", "민수"], typed.as_bytes()).printed(&[]);
    let expected =
        "/help/who /nick 홍 길동/nick[민수] /whoever[민수] /nickname[민수] /me waves[민수] /quit now/quitbye";
    assert_eq!(heard.recv().unwrap(), expected);
}

#[test]
fn a_name_that_would_break_lines_is_wrong_usage() {
    for name in ["a]\nb", "a\x1b[2J", "가\u{2028}나", "\u{85}", ""] {
        for option in ["--name", "--nick"] {
            let ended = run(&["chat", "127.0.0.1:9", option, name], b"");
            assert_eq!(ended.status, Some(2), "{ended:?}");
            assert!(ended.err.contains("name") && ended.err.contains("Usage"), "{ended:?}");
        }
    }
}

#[test]
fn a_server_that_closes_at_quit_is_no_failure() {
    let (server, _) =
        tcp_server("127.0.0.1:0", |mut connection, _| while recv(&mut connection) != b"/quit" {});
    let mut client = Live::start(&["chat", &server.to_string(), "--name", "민수"]);
    client.type_in("말\n/quit\n".as_bytes());
    // Standard input stays open.
    client.end().printed(&[]);
}

#[test]
fn lines_that_are_typed_one_by_one_go_out_a_moment_apart_too() {
    let (server, heard) = listener();
    let start = Instant::now();
    let mut client = Live::start(&["chat", &server]);
    for _ in 0..40 {
        client.type_in("말\n".as_bytes());
        thread::sleep(Duration::from_millis(1));
    }
    client.end_of_input();
    client.end().printed(&[]);
    assert!(start.elapsed() >= Duration::from_millis(40 * 10), "{:?}", start.elapsed());
    assert_eq!(heard.recv().unwrap(), "말".repeat(40) + "bye");
}

/// Sent at once, they would arrive as one message, the "bye" in it.
#[test]
fn lines_that_are_there_at_once_go_out_a_moment_apart() {
    let (server, heard) = listener();
    let start = Instant::now();
    run(&["chat", &server], "말\n".repeat(20).as_bytes()).printed(&[]);
    assert!(start.elapsed() >= Duration::from_millis(20 * 10), "{:?}", start.elapsed());
    assert_eq!(heard.recv().unwrap(), "말".repeat(20) + "bye");
}

#[test]
fn messages_of_others_are_printed_as_they_arrive_in_whole_characters() {
    let (go_on, next) = channel();
    let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        connection.write_all("[김] 안".as_bytes()).unwrap();
        next.recv().unwrap();
        let text = "녕하세요\n".as_bytes();
        connection.write_all(&text[..2]).unwrap();
        thread::sleep(Duration::from_millis(100));
        connection.write_all(&text[2..]).unwrap();
        assert_eq!(recv(&mut connection), "네".as_bytes());
        connection.write_all(&[b'!', 0xEA]).unwrap();
        let _ = connection.read(&mut [0]);
    });
    let mut client = Live::start(&["chat", &server.to_string()]);
    // The message has no line end: it gets one.
    client.wait_for_output("[김] 안\n");
    go_on.send(()).unwrap();
    client.wait_for_output("녕하세요\n");
    client.type_in("네\n".as_bytes());
    // Half a character is not held for ever.
    client.wait_for_output("!\n\u{FFFD}\n");
    client.end_of_input();
    client.end().printed(&["[김] 안", "녕하세요", "!", "\u{FFFD}"]);
}

#[test]
fn a_server_that_closes_or_resets_ends_it_with_a_sentence() {
    for resets in [false, true] {
        let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
            connection.write_all("안녕".as_bytes()).unwrap();
            recv(&mut connection);
            if resets {
                socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let mut client = Live::start(&["chat", &server.to_string()]);
        client.wait_for_output("안녕\n");
        client.type_in(b"x\n");
        let how = if resets { "reset" } else { "closed" };
        client.end().failed_saying(&[&server.to_string(), how, "no longer in the chat"]);
    }
}

#[test]
fn with_a_nick_it_talks_lines_and_asks_who_is_here() {
    let (server, heard) = listener();
    run(&["chat", &server, "--nick", "홍길동"], "하나\n둘\n/help\nbye\n".as_bytes()).printed(&[]);
    assert_eq!(heard.recv().unwrap(), "/nick 홍길동\n/who\n하나\n둘\n/help\nbye\n");
}

#[test]
fn with_a_nick_a_line_that_comes_in_pieces_is_printed_once() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        for piece in ["* you are 민수\n[김] 안", "녕", "\n[김] 끝이 없다"] {
            connection.write_all(piece.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        while !recv(&mut connection).is_empty() {}
    });
    let mut client = Live::start(&["chat", &server.to_string(), "--nick", "민수"]);
    // An unfinished line is not held back for ever.
    client.wait_for_output("끝이 없다\n");
    client.end_of_input();
    client.end().printed(&["* you are 민수", "[김] 안녕", "[김] 끝이 없다"]);
}

/// A UDP chat server for one member: it reports what it hears, and answers `안녕`.
fn datagram_listener() -> (String, Receiver<String>) {
    let (sender, heard) = channel();
    let server = udp_server("127.0.0.1:0", move |datagram| {
        let text = String::from_utf8(datagram.to_vec()).unwrap();
        let answer = text.ends_with("안녕").then(|| "어서 와".into());
        sender.send(text).unwrap();
        answer
    });
    (server.to_string(), heard)
}

#[test]
fn members_of_all_kinds_meet_in_our_own_chat() {
    let daemon = Daemon::start(&["--only", "chat", "--port", "chat=0"]);
    let (tcp, udp) = (daemon.tcp("chat").to_string(), daemon.udp("chat").to_string());
    let mut lines = Live::start(&["chat", &tcp, "--nick", "민수"]);
    lines.wait_for_output("* 1 member is here: 민수\n");
    let mut datagrams = Live::start(&["chat", "--udp", &udp, "--nick", "영희"]);
    datagrams.wait_for_output("* 2 members are here: 민수, 영희\n");
    lines.wait_for_output("* 영희 joined\n");
    let mut chunks = Live::start(&["chat", &tcp, "--name", "지우"]);
    chunks.type_in("안녕\n".as_bytes());
    for member in [&mut lines, &mut datagrams] {
        member.wait_for_output("[지우] 안녕\n");
    }
    datagrams.type_in("어서 와\n".as_bytes());
    for member in [&mut lines, &mut chunks] {
        member.wait_for_output("[영희] 어서 와\n");
    }
    datagrams.end_of_input();
    assert_eq!(datagrams.end().status, Some(0));
    lines.wait_for_output("* 영희 left\n");
}

/// Checks that these datagrams arrive, in this order.
#[track_caller]
fn hears(heard: &Receiver<String>, expected: &[&str]) {
    for datagram in expected {
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)).as_deref(), Ok(*datagram));
    }
}

#[test]
fn over_udp_an_empty_datagram_joins_and_each_message_is_one() {
    for (arguments, said) in [
        (&["--name", "민수"][..], &["", "[민수] 안녕", "[민수] 둘", "/who", "bye"][..]),
        (&["--nick", "민수"], &["", "/nick 민수", "/who", "안녕", "둘", "/who", "bye"]),
        (&[], &["", "안녕", "둘", "/who", "bye"]),
    ] {
        let (server, heard) = datagram_listener();
        let mut client = Live::start(&[&["chat", "--udp", &server], arguments].concat());
        client.type_in("안녕\n\n둘\n/who\n".as_bytes());
        client.wait_for_output("어서 와\n");
        client.end_of_input();
        client.end().printed(&["어서 와"]);
        hears(&heard, said);
    }
}

#[test]
fn over_udp_quit_ends_it_too_and_a_message_too_long_is_not_sent() {
    for word in ["quit", "/quit"] {
        let (server, heard) = datagram_listener();
        let mut client = Live::start(&["chat", "--udp", &server]);
        client.type_in(format!("{}\n{word}\n", "x".repeat(65_508)).as_bytes());
        let ended = client.end();
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.err.contains("not sent, 65508 bytes are too long"), "{ended:?}");
        hears(&heard, &["", word]);
    }
}

#[test]
fn over_udp_a_quit_behind_a_name_is_for_the_others() {
    let (server, heard) = datagram_listener();
    run(&["chat", "--udp", &server, "--name", "민수"], b"quit\nx\n").printed(&[]);
    hears(&heard, &["", "[민수] quit", "[민수] x", "bye"]);
}

#[test]
fn over_udp_a_server_that_has_gone_ends_it_with_a_sentence() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let mut client = Live::start(&["chat", "--udp", &address]);
    let (_, member) = server.recv_from(&mut [0; 10]).unwrap();
    server.send_to("안녕".as_bytes(), member).unwrap();
    client.wait_for_output("안녕\n");
    drop(server);
    client.type_in("듣고 있어?\n".as_bytes());
    client.end().failed_saying(&[&address, "can no longer be reached (Connection refused)", "start again"]);
}

#[test]
fn over_udp_it_tries_the_addresses_of_a_name_in_turn() {
    let (server, heard) = datagram_listener();
    let server = server.replace("127.0.0.1", "localhost");
    run(&["chat", "--udp", &server, "--nick", "민수"], b"").printed(&[]);
    hears(&heard, &["", "/nick 민수", "/who", "bye"]);
}

#[test]
fn an_interrupt_leaves_in_order() {
    let (server, served) = tcp_server("127.0.0.1:0", |mut connection, _| {
        connection.write_all("안녕".as_bytes()).unwrap();
        while !recv(&mut connection).is_empty() {}
    });
    let mut client = Live::start(&["chat", &server.to_string()]);
    client.wait_for_output("안녕");
    client.interrupt();
    client.end().printed(&["안녕"]);
    served.recv_timeout(Duration::from_secs(30)).unwrap();
}
