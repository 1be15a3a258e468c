//! The clients on a terminal: a person types while messages come in.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use super::stage::{echo, onepoll, recv, tcp_server};
use super::support::eventually;

/// Milliseconds: nothing in these tests takes this long unless it hangs.
const PATIENCE: u16 = 30_000;
/// What comes before a draft's text, and after it if the cursor is at its end.
const DRAW: &str = "\r\x1b[?7l> ";
const DRAWN: &str = "\x1b7\x1b[K\x1b8\x1b[?7h";

/// A client on a terminal of its own.
struct Seat {
    terminal: File,
    /// Kept open, so that the mode can be read after the client has ended.
    slave: Option<OwnedFd>,
    client: Child,
    former: Termios,
    shown: String,
    bytes: Vec<u8>,
}

impl Seat {
    fn start(arguments: &[&str]) -> Seat {
        Seat::with(onepoll(arguments).env("TERM", "xterm"))
    }

    fn with(command: &mut Command) -> Seat {
        Seat::of_width(40, command)
    }

    fn of_width(columns: u16, command: &mut Command) -> Seat {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
        let former = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let client = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let terminal = File::from(master);
        Seat { terminal, slave: Some(slave), client, former, shown: String::new(), bytes: Vec::new() }
    }

    fn types(&mut self, typed: &str) {
        self.terminal.write_all(typed.as_bytes()).unwrap();
    }

    /// Waits until the client has written `part`, and drops everything up to its end.
    #[track_caller]
    fn shows(&mut self, part: &str) {
        let end = loop {
            if let Some(at) = self.shown.find(part) {
                break at + part.len();
            }
            assert!(self.read(), "{part:?} is missing in {:?}", self.shown);
        };
        self.shown.drain(..end);
    }

    /// Reads some of the client's output; false at its end, or if none comes.
    fn read(&mut self) -> bool {
        let comes = poll(&mut [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)], PATIENCE).unwrap() > 0;
        let mut buffer = [0; 1024];
        let length = if comes { self.terminal.read(&mut buffer).unwrap_or(0) } else { 0 };
        self.bytes.extend_from_slice(&buffer[..length]);
        let whole = match std::str::from_utf8(&self.bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        self.shown.push_str(&String::from_utf8(self.bytes.drain(..whole).collect()).unwrap());
        length > 0
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.client.id() as i32), signal).unwrap();
    }

    fn mode(&self) -> Termios {
        tcgetattr(self.slave.as_ref().unwrap()).unwrap()
    }

    fn edits_by_itself(&self) -> bool {
        !self.mode().local_flags.contains(LocalFlags::ICANON)
    }

    /// Waits for the client to end, checks that the terminal is as it was, and
    /// returns the rest of the output.
    #[track_caller]
    fn ends(mut self, status: i32) -> String {
        let ended = self.client.wait().unwrap();
        assert_eq!(ended.code(), Some(status));
        assert_eq!(self.mode(), self.former);
        // With the slave closed, reading ends where the output does.
        self.slave = None;
        while self.read() {}
        std::mem::take(&mut self.shown)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A server that sends what the test tells it to and reports what it hears. It
/// closes when the test drops the sender.
fn puppet() -> (String, Sender<&'static str>, Receiver<String>) {
    let (say, to_say) = channel::<&str>();
    let (sender, heard) = channel();
    let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        let mut reader = connection.try_clone().unwrap();
        let sender = sender.clone();
        let reading = std::thread::spawn(move || {
            while let heard = recv(&mut reader)
                && !heard.is_empty()
            {
                sender.send(String::from_utf8(heard).unwrap()).unwrap();
            }
        });
        for message in to_say.iter() {
            connection.write_all(message.as_bytes()).unwrap();
        }
        let _ = connection.shutdown(std::net::Shutdown::Both);
        reading.join().unwrap();
    });
    (server.to_string(), say, heard)
}

#[test]
fn messages_scroll_above_the_line_that_is_typed_which_stays_whole() {
    let (server, say, heard) = puppet();
    let mut seat = Seat::start(&["chat", &server, "--name", "민수"]);
    seat.shows(&format!("in the chat at {server} as 민수; bye or Ctrl-D leaves\r\n"));
    seat.shows(&format!("{DRAW}{DRAWN}"));
    for (typed, draft) in [("안녕", "안녕"), ("하세", "안녕하세"), ("요 😀", "안녕하세요 😀")]
    {
        seat.types(typed);
        seat.shows(&format!("{DRAW}{draft}{DRAWN}"));
        say.send("[영희] 뭐해?\x1b[2J").unwrap();
        seat.shows(&format!("\r\x1b[K[영희] 뭐해?␛[2J\r\n{DRAW}{draft}{DRAWN}"));
    }
    // In front of the space and the emoji.
    seat.types(&"\x1b[D".repeat(2));
    seat.types("!");
    seat.shows("안녕하세요!\x1b7 😀\x1b[K\x1b8");
    seat.types("\r");
    seat.shows(&format!("\r\x1b[K> 안녕하세요! 😀\r\n{DRAW}{DRAWN}"));
    assert_eq!(heard.recv().unwrap(), "[민수] 안녕하세요! 😀");
    // The arrow key recalls the line.
    seat.types("\x1b[A\x7f\r");
    assert_eq!(heard.recv().unwrap(), "[민수] 안녕하세요! ");
    seat.types("bye\r");
    assert_eq!(heard.recv().unwrap(), "bye");
    assert!(seat.ends(0).ends_with("\r\x1b[K"));
}

#[test]
fn each_line_of_a_pasted_text_is_sent() {
    let (server, _say, heard) = puppet();
    let mut seat = Seat::start(&["chat", &server, "--nick", "민수"]);
    seat.shows(DRAWN);
    seat.types("하나\r둘\r\r셋\rbye\r뒤");
    seat.ends(0);
    let mut said = String::new();
    while !said.ends_with("bye\n") {
        said += &heard.recv_timeout(Duration::from_millis(PATIENCE.into())).unwrap();
    }
    assert_eq!(said, "/nick 민수\n/who\n하나\n둘\n셋\nbye\n");
}

#[test]
fn the_terminal_is_what_it_was_however_the_chat_ends() {
    for how in ["bye\r", "\x04", "SIGTERM", "SIGINT"] {
        let (server, _say, _heard) = puppet();
        let mut seat = Seat::start(&["chat", &server]);
        seat.shows(DRAWN);
        assert!(seat.edits_by_itself());
        match how {
            "SIGTERM" => seat.signal(Signal::SIGTERM),
            "SIGINT" => seat.signal(Signal::SIGINT),
            typed => seat.types(typed),
        }
        let rest = seat.ends(0);
        assert!(rest.ends_with("\r\x1b[K"), "{how:?}: {rest:?}");
    }
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_the_chat_goes_on() {
    let (server, _say, heard) = puppet();
    // Its own process group, as under a shell: Ctrl-Z stops the whole group.
    let mut seat = Seat::with(onepoll(&["chat", &server]).env("TERM", "xterm").process_group(0));
    seat.shows(DRAWN);
    seat.types("반쯤");
    seat.shows(&format!("반쯤{DRAWN}"));
    seat.types("\x1a");
    let client = Pid::from_raw(seat.client.id() as i32);
    let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
    eventually("the client stops", || {
        waitpid(client, Some(flags)) == Ok(WaitStatus::Stopped(client, Signal::SIGTSTP))
    });
    assert_eq!(seat.mode(), seat.former);
    seat.signal(Signal::SIGCONT);
    seat.shows(&format!("{DRAW}반쯤{DRAWN}"));
    assert!(seat.edits_by_itself());
    seat.types("!\r");
    assert_eq!(heard.recv().unwrap(), "반쯤!");
}

#[test]
fn an_error_takes_a_line_of_its_own_below_the_draft() {
    let (server, say, _heard) = puppet();
    let mut seat = Seat::start(&["chat", &server]);
    seat.shows(DRAWN);
    seat.types("반쯤");
    seat.shows(&format!("반쯤{DRAWN}"));
    drop(say);
    let rest = seat.ends(1);
    assert!(rest.starts_with("\r\x1b[K> 반쯤\r\n\r\x1b[Konepoll: "), "{rest:?}");
    assert!(rest.ends_with("start again to come back\r\n"), "{rest:?}");
}

#[test]
fn a_draft_longer_than_the_terminal_is_wide_is_shown_in_part() {
    let (server, _say, heard) = puppet();
    let mut seat = Seat::start(&["chat", &server]);
    seat.shows(DRAWN);
    let long = "가나다라마바사아자차".repeat(3);
    seat.types(&long);
    // Of 40 columns the prompt takes two and the cursor one.
    let shown: String = long.chars().skip(30 - 18).collect();
    seat.shows(&format!("\r\x1b[?7l< {shown}{DRAWN}"));
    seat.types("\x01");
    let shown: String = long.chars().take(18).collect();
    seat.shows(&format!("{DRAW}\x1b7{shown}\x1b[K\x1b8"));
    seat.types("\r");
    assert_eq!(heard.recv().unwrap(), long);
}

/// The kernel edits the line then, as for any other program.
#[test]
fn a_terminal_that_cannot_move_its_cursor_is_left_alone() {
    let (server, say, heard) = puppet();
    let mut seat = Seat::with(onepoll(&["chat", &server]).env("TERM", "dumb"));
    say.send("하나").unwrap();
    seat.shows("하나\r\n");
    assert!(!seat.edits_by_itself());
    seat.types("반쯤");
    seat.shows("반쯤");
    say.send("뭐해?").unwrap();
    seat.shows("\r\x1b[K뭐해?\r\n");
    seat.types("\n");
    assert_eq!(heard.recv().unwrap(), "반쯤");
    drop(say);
    seat.shows("\r\x1b[Konepoll: ");
    seat.ends(1);
}

#[test]
fn ctrl_d_at_a_prompt_ends_its_line() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let mut seat = Seat::start(&["echo", &server.to_string()]);
    seat.shows("> ");
    seat.types("안녕\n");
    seat.shows("안녕\r\n안녕\r\n> ");
    seat.types("\x04");
    assert_eq!(seat.ends(0), "\r\n");
}

/// A server of one file, which goes on when the test says so: half of it, the rest, its sum.
fn in_steps(contents: &'static [u8]) -> (String, Sender<()>) {
    let (go_on, may_go_on) = channel::<()>();
    let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        recv(&mut connection);
        let sum: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
        let (first, second) = contents.split_at(contents.len() / 2);
        let size = contents.len();
        let steps = [
            [format!("OK {size}\n").as_bytes(), first].concat(),
            second.to_vec(),
            format!("OK {size} {sum}\n").into_bytes(),
        ];
        for step in steps {
            connection.write_all(&step).unwrap();
            if may_go_on.recv().is_err() {
                return;
            }
        }
    });
    (server.to_string(), go_on)
}

#[test]
fn a_bar_shows_how_far_a_download_is_and_leaves_no_trace() {
    static CONTENTS: [u8; 1_000_000] = [b'x'; 1_000_000];
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bar-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let get = |server: &str| {
        let mut command = onepoll(&["get", server, "강의 자료.pdf", "--force"]);
        Seat::of_width(80, command.env("TERM", "xterm").current_dir(&folder))
    };
    let (server, go_on) = in_steps(&CONTENTS);
    let mut seat = get(&server);
    seat.shows("강의 자료.pdf");
    seat.shows("50%");
    seat.shows("kB");
    seat.shows("/s, ");
    seat.shows(" left");
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    seat.shows("\r\x1b[2K");
    seat.shows("got 강의 자료.pdf: 1000000 bytes in ");
    let rest = seat.ends(0);
    assert!(!rest.contains('%'), "{rest:?}");

    // An error has a line of its own, too.
    let (server, go_on) = in_steps(&CONTENTS);
    let mut seat = get(&server);
    seat.shows("50%");
    drop(go_on);
    seat.shows("\r\x1b[2K");
    seat.shows("onepoll: ");
    let rest = seat.ends(1);
    assert!(rest.contains("closed the connection after 500000 of 1000000 bytes"), "{rest:?}");
    std::fs::remove_dir_all(folder).unwrap();
}
