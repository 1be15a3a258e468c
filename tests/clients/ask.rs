//! echo, upper, number, time, json, hello.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::stage::{Live, answering, ask, echo, onepoll, recv, run, tcp_server, udp_server};

#[test]
fn each_message_of_the_command_line_comes_back_on_a_line() {
    let (server, served) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    ask(&["echo", &server.to_string(), "안녕", "two words", "끝"]).printed(&["안녕", "two words", "끝"]);
    assert_eq!(served.recv().unwrap(), 1, "one connection carries them all");
}

#[test]
fn lines_from_a_pipe_are_sent_without_line_ends_and_empty_ones_not_at_all() {
    let (server, heard) = answering(<[u8]>::to_vec);
    run(&["echo", &server.to_string()], "하나\n\n둘\r\n셋".as_bytes()).printed(&["하나", "둘", "셋"]);
    assert_eq!(
        heard.try_iter().collect::<Vec<_>>(),
        ["하나", "둘", "셋"].map(|text| text.as_bytes().to_vec())
    );
}

#[test]
fn lines_of_a_file_are_read_too() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let path = std::env::temp_dir().join(format!("onepoll-lines-{}", std::process::id()));
    let lines: Vec<String> = (0..2000).map(|number| format!("줄 {number}")).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let ended = Live::of(onepoll(&["echo", &server.to_string()]).stdin(file)).end();
    ended.printed(&lines.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn lines_that_cannot_be_sent_yet_stay_in_the_pipe() {
    // Nothing is answered, so only the first line may go out.
    let (server, _) =
        tcp_server("127.0.0.1:0", |mut connection, _| while !recv(&mut connection).is_empty() {});
    let mut client = Live::start(&["upper", "--timeout", "0", &server.to_string()]);
    let mut stdin = client.take_stdin();
    let (sender, progress) = channel();
    thread::spawn(move || {
        let lines = "한 줄\n".repeat(8192);
        while stdin.write_all(lines.as_bytes()).is_ok() && sender.send(lines.len()).is_ok() {}
    });
    let mut taken = 0;
    while let Ok(count) = progress.recv_timeout(Duration::from_millis(500)) {
        taken += count;
        assert!(taken < 4 * 1024 * 1024, "it reads on and on");
    }
    client.interrupt();
    client.end().printed(&[]);
}

#[test]
fn without_any_input_there_is_nothing_to_do() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    Live::of(onepoll(&["echo", &server.to_string()]).stdin(Stdio::null())).end().printed(&[]);
}

#[test]
fn a_typed_end_word_ends_the_client() {
    for (typed, answers) in [("a\nq\nb\n", &["a"][..]), ("a\nbye\n", &["a"]), ("/end\nb\n", &["/end"])] {
        let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
        let mut client = Live::start(&["echo", &server.to_string()]);
        client.type_in(typed.as_bytes());
        // Standard input stays open: the word ends it.
        client.end().printed(answers);
    }
    let (server, heard) = answering(|bytes| bytes.to_ascii_uppercase());
    run(&["upper", &server.to_string()], b"a\n/end\n").printed(&["A"]);
    assert_eq!(heard.try_iter().count(), 1, "only an echo server is sent /end");
}

#[test]
fn the_answer_is_printed_before_the_next_line_is_typed() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let mut client = Live::start(&["echo", &server.to_string()]);
    for word in ["하나", "둘"] {
        client.type_in(format!("{word}\n").as_bytes());
        client.wait_for_output(&format!("{word}\n"));
    }
    client.end_of_input();
    client.end().printed(&["하나", "둘"]);
}

#[test]
fn an_echo_in_pieces_is_awaited_to_its_last_byte() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        while let heard = recv(&mut connection)
            && !heard.is_empty()
        {
            for byte in heard {
                connection.write_all(&[byte]).unwrap();
                // Longer than the silence that ends an answer of unknown length.
                thread::sleep(Duration::from_millis(250));
            }
        }
    });
    ask(&["echo", &server.to_string(), "가", "나"]).printed(&["가", "나"]);
}

/// More than all socket buffers can hold: neither end may wait for the other.
#[test]
fn a_message_larger_than_all_buffers_comes_back_whole() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let line = "큰".repeat(5_000_000);
    run(&["echo", &server.to_string()], line.as_bytes()).printed(&[&line]);
}

#[test]
fn an_echo_that_differs_is_reported() {
    let (server, _) = answering(<[u8]>::to_ascii_uppercase);
    let ended = ask(&["echo", &server.to_string(), "abc", "def"]);
    assert_eq!(ended.out, "ABC\n");
    ended.failed_saying(&[&server.to_string(), "answered 3 bytes, which are not the 3 bytes it was sent"]);
    let (server, _) = answering(|bytes| [bytes, b"!"].concat());
    ask(&["echo", &server.to_string(), "abc"]).failed_saying(&[&server.to_string(), "not an echo server"]);
}

/// The course's upper server: it answers once, then closes.
fn upper_once(mut connection: TcpStream) {
    let heard = recv(&mut connection);
    connection.write_all(String::from_utf8_lossy(&heard).to_uppercase().as_bytes()).unwrap();
}

#[test]
fn a_server_that_closes_after_each_answer_is_connected_anew() {
    let (server, served) = tcp_server("127.0.0.1:0", |connection, _| upper_once(connection));
    ask(&["upper", &server.to_string(), "straße", "안녕 b", "c"]).printed(&["STRASSE", "안녕 B", "C"]);
    assert_eq!(served.iter().take(3).last(), Some(3));
    run(&["upper", &server.to_string()], b"d\ne\n").printed(&["D", "E"]);
}

#[test]
fn a_message_that_crossed_with_a_close_is_sent_again() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        upper_once(connection.try_clone().unwrap());
        // It closes only when the next message is on its way, without reading
        // that message.
        let _ = connection.peek(&mut [0]);
        let _ = connection.flush();
    });
    ask(&["upper", &server.to_string(), "a", "b"]).printed(&["A", "B"]);
}

#[test]
fn a_long_answer_is_whole_although_the_server_pauses() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        let mut heard = vec![0; 100_000];
        connection.read_exact(&mut heard).unwrap();
        let answer = heard.to_ascii_uppercase();
        connection.write_all(&answer[..60_000]).unwrap();
        // Longer than the silence that ends an answer of unknown length.
        thread::sleep(Duration::from_millis(250));
        connection.write_all(&answer[60_000..]).unwrap();
        let _ = connection.read(&mut [0]);
    });
    let message = "abcde".repeat(20_000);
    ask(&["upper", &server.to_string(), &message]).printed(&[&message.to_ascii_uppercase()]);
}

#[test]
fn a_number_server_that_stays_open_is_not_waited_for() {
    let (server, heard) = answering(|number| match number {
        b"7" => b"seven".to_vec(),
        _ => b"Try again".to_vec(),
    });
    ask(&["number", &server.to_string(), "7", "일곱"]).printed(&["seven", "Try again"]);
    assert_eq!(heard.try_iter().count(), 2);
}

#[test]
fn a_number_word_that_comes_letter_by_letter_is_one_answer() {
    for pause in [50, 250] {
        let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
            while !recv(&mut connection).is_empty() {
                for letter in b"ten\n" {
                    connection.write_all(&[*letter]).unwrap();
                    thread::sleep(Duration::from_millis(pause));
                }
            }
        });
        let ended = ask(&["number", &server.to_string(), "10", "10"]);
        ended.printed(&["ten", "ten"]);
    }
}

#[test]
fn an_upper_answer_that_lacks_the_end_is_reported() {
    // Like a server with one recv: it answers the beginning and closes.
    for stays_open in [false, true] {
        let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
            let mut heard = vec![0; 30_000];
            connection.read_exact(&mut heard).unwrap();
            connection.write_all(&heard[..1000].to_ascii_uppercase()).unwrap();
            if stays_open {
                let _ = connection.read(&mut [0]);
            }
        });
        let ended = ask(&["upper", "--timeout", "500ms", &server.to_string(), &"x".repeat(30_000)]);
        assert_eq!(ended.out, "X".repeat(1000) + "\n");
        let part = if stays_open { "after 1000 bytes" } else { "1000 characters to 30000" };
        ended.failed_saying(&[&server.to_string(), part]);
    }
}

#[test]
fn a_wrong_word_and_wrong_upper_case_are_printed_and_reported() {
    let (server, _) = answering(|_| b"six".to_vec());
    let ended = ask(&["number", &server.to_string(), "7"]);
    assert_eq!(ended.out, "six\n");
    ended.failed_saying(&[&server.to_string(), "\"six\" to \"7\"", "\"seven\" is right"]);
    let (server, _) = answering(<[u8]>::to_ascii_uppercase);
    let ended = ask(&["upper", &server.to_string(), "straße"]);
    assert_eq!(ended.out, "STRAßE\n");
    ended.failed_saying(&[&server.to_string(), "\"STRAßE\"", "\"STRASSE\" is right"]);
    let server = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_vec()));
    ask(&["number", "--udp", &server.to_string(), "7"]).failed_saying(&["\"seven\" is right"]);
    ask(&["upper", "--udp", &server.to_string(), "abc"]).failed_saying(&["\"ABC\" is right"]);
}

#[test]
fn an_answer_that_is_no_json_is_reported() {
    let (server, _) = answering(|_| "안녕".into());
    let ended = ask(&["json", "--timeout", "500ms", &server.to_string(), "[]"]);
    assert_eq!(ended.out, "안녕\n");
    ended.failed_saying(&[&server.to_string(), "6 bytes that are not JSON"]);
}

#[test]
fn the_time_comes_unasked_whether_the_server_closes_or_not() {
    const TIME: &str = "Fri Nov 20 03:06:06 2026";
    for stays_open in [false, true] {
        let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
            connection.write_all(TIME.as_bytes()).unwrap();
            if stays_open {
                assert_eq!(connection.read(&mut [0]).unwrap(), 0, "a time client sends nothing");
            }
        });
        ask(&["time", &server.to_string()]).printed(&[TIME]);
    }
    let server = udp_server("127.0.0.1:0", |_| Some(TIME.into()));
    ask(&["time", "--udp", &server.to_string()]).printed(&[TIME]);
}

#[test]
fn a_json_answer_is_awaited_until_its_value_is_closed() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        while !recv(&mut connection).is_empty() {
            connection.write_all(br#"{"a": [1, "#).unwrap();
            thread::sleep(Duration::from_millis(250));
            connection.write_all(b"2]}").unwrap();
        }
    });
    ask(&["json", &server.to_string(), "[1]", "2"]).printed(&[r#"{"a": [1, 2]}"#; 2]);
}

/// Answers each value like the json service, with nothing between the answers.
fn json_server() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<Vec<u8>>) {
    answering(|bytes| match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(value) => value.to_string().into_bytes(),
        Err(_) => br#"{"error": "no value"}"#.to_vec(),
    })
}

#[test]
fn json_of_standard_input_is_sent_value_by_value_wherever_its_lines_break() {
    let (server, heard) = json_server();
    let ended = run(&["json", &server.to_string()], b"{\n \"a\": 1\n}\n[1] [2]\n\n[\n]\n");
    ended.printed(&[r#"{"a":1}"#, "[1]", "[2]", "[]"]);
    let heard: Vec<_> = heard.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
    assert_eq!(heard, ["{\n \"a\": 1\n}", "[1]", "[2]", "[\n]"]);
}

#[test]
fn a_json_value_is_sent_as_soon_as_it_is_typed_and_an_end_word_inside_one_is_json() {
    let (server, _) = json_server();
    let mut client = Live::start(&["json", &server.to_string()]);
    client.type_in(b"[\n1]\n");
    client.wait_for_output("[1]\n");
    client.type_in(b"[\nq\n");
    client.wait_for_output("error");
    client.type_in(b"q\n");
    client.end().printed(&["[1]", r#"{"error": "no value"}"#]);
}

#[test]
fn json_that_ends_too_early_is_sent_as_it_is_and_reported() {
    let (server, heard) = json_server();
    let ended = run(&["json", &server.to_string()], b"[1]\n[2,\n");
    assert_eq!(ended.out, "[1]\n{\"error\": \"no value\"}\n");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.err.contains("ends too early"), "{ended:?}");
    assert_eq!(heard.try_iter().last().unwrap(), b"[2,");
}

#[test]
fn each_json_value_of_an_argument_has_an_answer_of_its_own() {
    let (server, _) = json_server();
    ask(&["json", &server.to_string(), "1 2", "3", "[] {}"]).printed(&["1", "2", "3", "[]", "{}"]);
}

#[test]
fn an_answer_that_reports_an_error_is_an_answer() {
    let answer = r#"{"error": "no value", "line": 1, "column": 1}"#;
    let (server, heard) = answering(|_| answer.into());
    run(&["json", &server.to_string()], b"nonsense\n").printed(&[answer]);
    assert_eq!(heard.recv().unwrap(), b"nonsense");
}

#[test]
fn hello_prints_the_one_datagram() {
    let server = udp_server("127.0.0.1:0", |_| Some(b"Hello UDP Client".to_vec()));
    ask(&["hello", &server.to_string()]).printed(&["Hello UDP Client"]);
}

#[test]
fn datagrams_carry_a_message_each() {
    let server = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_vec()));
    ask(&["echo", "--udp", &server.to_string(), "안녕", "", "둘"]).printed(&["안녕", "", "둘"]);
    run(&["echo", "--udp", &server.to_string()], "하나\n\n/end\nx\n".as_bytes()).printed(&["하나", "/end"]);
    let server = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_ascii_uppercase()));
    ask(&["upper", "--udp", &server.to_string(), "abc"]).printed(&["ABC"]);
    let server = udp_server("127.0.0.1:0", |_| Some(b"one".to_vec()));
    ask(&["number", "--udp", &server.to_string(), "1"]).printed(&["one"]);
}

#[test]
fn ipv6_works() {
    let (server, _) = tcp_server("[::1]:0", |connection, _| echo(connection));
    ask(&["echo", &server.to_string(), "안녕"]).printed(&["안녕"]);
    let server = udp_server("[::1]:0", |datagram| Some(datagram.to_vec()));
    assert!(server.to_string().starts_with("[::1]:"));
    ask(&["echo", "--udp", &server.to_string(), "안녕"]).printed(&["안녕"]);
}

#[test]
fn a_name_is_looked_up_and_its_addresses_tried_in_turn() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    ask(&["echo", &format!("localhost:{}", server.port()), "안녕"]).printed(&["안녕"]);
    let server = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_vec()));
    ask(&["echo", "--udp", &format!("localhost:{}", server.port()), "안녕"]).printed(&["안녕"]);
}
