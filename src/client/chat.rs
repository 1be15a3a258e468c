//! `onepoll chat`: keyboard and socket on one Poll.
//!
//! Each line goes out in one `send`, without its line end, as the course's programs do.
//! TCP keeps no boundaries between messages: two lines sent back to back would arrive as
//! one message, and a "bye" at the end would be read as text. So lines go out a moment
//! apart. With `--nick` they keep their line ends; with `--udp` each is a datagram.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use onepoll::reactor::{ConnectionId, DatagramSpec, SocketId, SocketOptions};
use onepoll::service::{Answer, CloseReason, Context, Input, LARGEST_DATAGRAM, Service};
use onepoll::wire::text::incomplete_suffix;
use onepoll::wording::counted;

use super::console::Console;
use super::editor::Event;
use super::messages::{Messages, Next};
use super::screen::print_between;
use super::target::{Route, Target, cause};
use super::{ClientError, Run, run_service};
use crate::output::remark;

/// The time between two messages: enough for a server to read them one by one.
const PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for the rest of a character or line.
const HOLD_BACK: Duration = Duration::from_secs(1);
/// The longest unfinished line that is held back, in bytes.
const LONGEST_HELD: usize = 8 * 1024;
/// How often a silent UDP member sends an empty datagram: onepoll forgets a member
/// after half an hour of silence.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// Talk in a chat; a typed bye, q or /end leaves
///
/// /help, /who, /nick NAME and /quit are for the server, which answers them: they are
/// sent as they are, even with --name. Everything else goes to the other members. On a
/// terminal, the arrow keys move within the line and recall earlier ones; the usual keys
/// of readline work too.
#[derive(Debug, Parser)]
#[command(name = "chat")]
pub struct ChatCommand {
    /// Put [NAME] in front of each message, as the course's programs do
    #[arg(long, value_parser = parse_name)]
    name: Option<String>,
    /// Ask the server for this nick, which it then puts in front of each message; the server has to know /nick
    #[arg(long, value_name = "NAME", value_parser = parse_name, conflicts_with = "name")]
    nick: Option<String>,
    /// Talk over UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// The server; an IPv6 address needs brackets, as in [::1]:9999
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

fn parse_name(text: &str) -> Result<String, &'static str> {
    let breaks_lines = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.is_empty() {
        Err("the name is empty; leave the option out to have none")
    } else if text.chars().any(breaks_lines) {
        Err("a name has no control characters and no line ends")
    } else {
        Ok(text.to_owned())
    }
}

/// Whether a message is a command for the server, which recognizes it only
/// without a name in front.
fn is_command(message: &[u8]) -> bool {
    message.starts_with(b"/nick ")
        || matches!(message.trim_ascii_end(), b"/nick" | b"/who" | b"/help" | b"/quit")
}

impl Run for ChatCommand {
    /// Chats until the user leaves or the server closes.
    fn run(self) -> Result<(), ClientError> {
        let ChatCommand { name, nick, udp, target } = self;
        let client = Chat {
            route: Route::new(target),
            manner: match (udp, &nick) {
                (true, _) => Manner::Datagrams,
                (false, Some(_)) => Manner::Lines,
                (false, None) => Manner::Chunks,
            },
            prefix: name.as_ref().map(|name| format!("[{name}] ").into_bytes()).unwrap_or_default(),
            name: name.or(nick.clone()),
            nick,
            introduction: VecDeque::new(),
            messages: Messages::from_keyboard(),
            console: None,
            link: None,
            joined: false,
            was_heard: false,
            spoke_at: None,
            may_end: false,
            has_left: false,
        };
        run_service("chat", client, SocketOptions::default())
    }
}

/// What separates one message from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A pause.
    Chunks,
    /// A line end.
    Lines,
    /// Nothing has to: each is a datagram of its own.
    Datagrams,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Connection(ConnectionId),
    Socket(SocketId, SocketAddr),
}

struct Chat {
    route: Route,
    manner: Manner,
    /// Goes in front of each message.
    prefix: Vec<u8>,
    name: Option<String>,
    nick: Option<String>,
    /// What to send before anything that is typed.
    introduction: VecDeque<Vec<u8>>,
    messages: Messages,
    /// The terminal, if a person is typing there.
    console: Option<Console>,
    link: Option<Link>,
    joined: bool,
    /// The server has sent something.
    was_heard: bool,
    spoke_at: Option<Instant>,
    /// `/quit` was sent: if the server closes now, that is no failure.
    may_end: bool,
    /// The last message was sent; the loop ends once it is out.
    has_left: bool,
}

impl Chat {
    fn reach(&self, address: SocketAddr, cx: &mut Context<'_>) {
        match self.manner {
            Manner::Chunks | Manner::Lines => cx.connect(address),
            Manner::Datagrams => cx.open_socket(0, DatagramSpec::connected(address)),
        }
    }

    fn not_reached(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        match self.route.next() {
            Some(address) => self.reach(address, cx),
            None => cx.fail(self.route.unreachable(error)),
        }
    }

    fn has_reached(&mut self, link: Link, cx: &mut Context<'_>) {
        self.link = Some(link);
        self.introduction.clear();
        if self.manner == Manner::Datagrams {
            // The first datagram joins; an empty one says nothing to the others.
            self.introduction.push_back(Vec::new());
        }
        if let Some(nick) = &self.nick {
            self.introduction.extend([format!("/nick {nick}").into_bytes(), b"/who".to_vec()]);
        }
        if !std::mem::replace(&mut self.joined, true) {
            self.console = Console::open();
            self.welcome(cx);
            self.messages.start(cx);
        }
        self.go_on(cx);
    }

    /// Tells a person where they are; a script does not need to know.
    fn welcome(&mut self, cx: &mut Context<'_>) {
        if self.console.is_some() {
            let name = self.name.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            self.remark(&format!("in the chat at {}{name}; bye or Ctrl-D leaves", self.route), cx);
        }
    }

    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.link.is_none() || self.has_left {
            return;
        }
        if let Some(words) = self.introduction.pop_front() {
            return self.say(&words, cx);
        }
        match self.messages.next(cx) {
            Next::Message(message) => {
                let prefix = if is_command(&message) { &[] } else { self.prefix.as_slice() };
                let message = [prefix, &message].concat();
                self.say(&message, cx);
                let word = message.trim_ascii_end();
                self.may_end = word == b"/quit";
                if self.manner == Manner::Datagrams && matches!(word, b"/quit" | b"quit") {
                    // Over UDP the server does not confirm it.
                    self.leave(cx);
                }
            }
            Next::NotYet if self.manner == Manner::Datagrams => {
                cx.set_tick(self.spoke_at.unwrap_or(cx.now()) + SILENCE);
            }
            Next::NotYet => {}
            Next::End => {
                self.say(b"bye", cx);
                self.leave(cx);
            }
        }
    }

    /// Ends the loop once everything is sent. If the server closes first, that is
    /// no longer a failure.
    fn leave(&mut self, cx: &mut Context<'_>) {
        self.has_left = true;
        cx.stop();
    }

    fn say(&mut self, message: &[u8], cx: &mut Context<'_>) {
        match (self.manner, self.link) {
            (Manner::Lines, Some(Link::Connection(server))) => cx.tell(server, &[message, b"\n"].concat()),
            (_, Some(Link::Connection(server))) => cx.tell(server, message),
            (_, Some(Link::Socket(..))) if message.len() > LARGEST_DATAGRAM => {
                let length = counted(message.len(), "byte");
                let why =
                    format!("{length} are too long for one datagram: send at most {LARGEST_DATAGRAM} bytes");
                self.remark(&format!("the message was not sent, {why}"), cx);
            }
            (_, Some(Link::Socket(socket, server))) => cx.send_to(socket, server, message),
            (_, None) => {}
        }
        self.spoke_at = Some(cx.now());
        // Nothing else is read until then: while lines wait, standard input stays
        // unread, and only asking for the next message resumes it.
        cx.set_tick(cx.now() + PAUSE);
    }

    fn hear(&mut self, text: &[u8], cx: &mut Context<'_>) {
        self.was_heard = true;
        if !text.is_empty() {
            self.show(text, cx);
        }
    }

    fn remark(&mut self, text: &str, cx: &mut Context<'_>) {
        match self.console {
            Some(_) => self.show(format!("onepoll: {text}").as_bytes(), cx),
            None => remark(text),
        }
    }

    /// If standard output is closed, the client ends by itself.
    fn show(&mut self, text: &[u8], cx: &mut Context<'_>) {
        let _ = match &mut self.console {
            Some(console) => {
                console.show(text);
                console.draw(cx)
            }
            None => print_between(text, cx),
        };
    }

    /// How many bytes at the end belong to an unfinished character or line.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let line = bytes.iter().rev().take_while(|byte| **byte != b'\n').count();
        if self.manner == Manner::Lines && line <= LONGEST_HELD { line } else { incomplete_suffix(bytes) }
    }

    fn type_on_console(&mut self, typed: &[u8], cx: &mut Context<'_>) {
        let Some(console) = &mut self.console else { return };
        for event in console.typed(typed) {
            match &event {
                _ if self.messages.have_ended() => break,
                Event::Line(line) if line.is_empty() => {}
                Event::Line(line) => {
                    console.commit(line);
                    self.messages.typed(Some(format!("{line}\n").as_bytes()), cx);
                }
                Event::End => self.messages.typed(None, cx),
                event => console.obey(event, cx),
            }
        }
        let _ = console.draw(cx);
    }

    fn ended(&self, how: &str, cx: &mut Context<'_>) {
        if self.has_left {
            return;
        }
        if self.may_end {
            return cx.stop();
        }
        cx.fail(format!("{} {how}: you are no longer in the chat; start again to come back", self.route));
    }
}

impl Service for Chat {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.route.look_up(cx);
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        match self.route.found(answer) {
            Ok(first) => self.reach(first, cx),
            Err(sentence) => cx.fail(sentence),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        if let Some(server) = cx.connection() {
            self.has_reached(Link::Connection(server), cx);
        }
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        let unfinished = self.unfinished(bytes);
        let whole = &bytes[..bytes.len() - unfinished];
        input.consume(whole.len());
        if unfinished > 0 {
            cx.set_deadline_after(HOLD_BACK);
        }
        self.hear(whole, cx);
    }

    fn timeout(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let rest = input.unread();
        input.consume_all();
        self.hear(rest, cx);
    }

    fn end_of_input(&mut self, session: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.timeout(session, input, cx);
        cx.close();
        self.ended("closed the connection", cx);
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            CloseReason::NotConnected(error) => self.not_reached(error, cx),
            CloseReason::Reset => self.ended("reset the connection", cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match (opened, self.route.current()) {
            (Ok(socket), Some(server)) => self.has_reached(Link::Socket(socket, server), cx),
            (Ok(_), None) => {}
            (Err(error), _) if self.was_heard => {
                self.ended(&format!("can no longer be reached ({})", cause(&error)), cx);
            }
            (Err(error), _) => {
                if let Some(Link::Socket(socket, _)) = self.link.take() {
                    cx.close_socket(socket);
                }
                self.not_reached(&error, cx);
            }
        }
    }

    fn datagram(&mut self, _: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.hear(datagram, cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let is_silent = self.spoke_at.is_some_and(|at| cx.now() >= at + SILENCE);
        if self.manner == Manner::Datagrams && is_silent {
            // It keeps the membership of somebody who only listens.
            return self.say(b"", cx);
        }
        self.go_on(cx);
    }

    fn keyboard(&mut self, typed: Option<&[u8]>, cx: &mut Context<'_>) {
        match typed {
            Some(typed) if self.console.is_some() => self.type_on_console(typed, cx),
            typed => self.messages.typed(typed, cx),
        }
        self.go_on(cx);
    }
}
