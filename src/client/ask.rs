//! The client behind `echo`, `upper`, `number`, `time`, `json` and `hello`: it
//! sends a message, waits for the answer, and goes on to the next message.
//!
//! Over TCP it speaks as the course's programs do: one `send` per message,
//! without a terminator. Nothing in that protocol marks the end of an answer, so
//! [`Asked`] has to judge. If the server closes after an answer, the next message
//! takes a new connection. The client never waits for the server to close.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use clap::Args;
use onepoll::reactor::{ConnectionId, DatagramSpec, SocketId, SocketOptions, Transport};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};
use onepoll::wording::counted;

use super::asked::{Asked, Expected};
use super::messages::{Messages, Next};
use super::screen::{Prompt, print_answer};
use super::target::{Route, Target};
use super::{ClientError, Timeout, parse_timeout, run_service};

/// A TCP answer that does not mark its own end is over after this much silence:
/// longer than a server pauses between pieces, too short for a person to notice.
const QUIET: Duration = Duration::from_millis(200);
/// How long a server may take to answer, unless the user says otherwise. A
/// datagram can be lost on the way; a connection's bytes cannot.
const UDP_TIMEOUT: Timeout = Timeout(Duration::from_secs(3));
const TCP_TIMEOUT: Timeout = Timeout(Duration::from_secs(10));
/// The most bytes of one answer, so that a server cannot fill our memory.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Which server to ask, and how.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Ask over UDP instead of TCP
    #[arg(long)]
    pub udp: bool,
    /// How long an answer may take to its last byte, 0 for no limit [default: 3s over UDP, 10s over TCP]
    #[arg(long, value_parser = parse_timeout)]
    pub timeout: Option<Timeout>,
    /// The server; an IPv6 address needs brackets, as in [::1]:3333
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
}

/// The command line of `echo`, `upper` and `number`.
#[derive(Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// What to send, one answer each; without it, the lines of standard input
    #[arg(value_name = "MESSAGE")]
    messages: Vec<OsString>,
}

impl AskArgs {
    /// Asks these messages; `expects` says what is known about each answer.
    pub fn question(self, expects: fn(&[u8]) -> Expected) -> Question {
        let AskArgs { server: ServerArgs { udp, timeout, target }, messages } = self;
        let messages = Messages::of_arguments(messages.into_iter().map(OsString::into_vec).collect());
        // An empty message asks nothing over TCP, but an empty datagram does.
        let messages = if udp { messages } else { messages.without_empty() };
        Question { expects, udp, timeout, target, messages, end_word: None }
    }
}

/// What a command asks which server.
pub struct Question {
    /// What is known about the answer to a message in advance.
    pub expects: fn(message: &[u8]) -> Expected,
    /// Ask over UDP instead of TCP.
    pub udp: bool,
    /// How long an answer may take to its last byte; the transport's default if `None`.
    pub timeout: Option<Timeout>,
    /// The server.
    pub target: Target,
    /// What to send.
    pub messages: Messages,
    /// A word that, when typed, ends the client and is sent to the server too.
    pub end_word: Option<&'static [u8]>,
}

/// Asks until the messages end.
pub fn ask(question: Question) -> Result<(), ClientError> {
    let Question { expects, udp, timeout, target, messages, end_word } = question;
    let client = Ask {
        expects,
        end_word,
        transport: if udp { Transport::Udp } else { Transport::Tcp },
        route: Route::new(target),
        timeout: timeout.unwrap_or(if udp { UDP_TIMEOUT } else { TCP_TIMEOUT }),
        messages,
        link: Link::Opening,
        reached: false,
        answers: 0,
        asked: None,
        answer_by: None,
        prompt: Prompt::default(),
    };
    run_service("client", client, SocketOptions::default())
}

/// The client of one server.
struct Ask {
    expects: fn(&[u8]) -> Expected,
    end_word: Option<&'static [u8]>,
    transport: Transport,
    route: Route,
    timeout: Timeout,
    messages: Messages,
    link: Link,
    /// Whether the server has been reached.
    reached: bool,
    /// How many answers came over the current link.
    answers: u64,
    /// The message that is waiting for its answer.
    asked: Option<Asked>,
    /// When its answer has to be complete.
    answer_by: Option<Instant>,
    prompt: Prompt,
}

/// The way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The server closed it.
    Down,
    /// Being looked up, connected or opened.
    Opening,
    Connection(ConnectionId),
    Socket(SocketId),
}

impl Ask {
    /// Sends the next message once the last one is answered.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.asked.is_none() {
            match self.messages.next(cx) {
                Next::Message(message) => self.asked = Some(self.question(message)),
                Next::NotYet => return self.prompt.show(),
                Next::End => match self.messages.take_end_word() {
                    Some(word) if self.end_word == Some(&word) => self.asked = Some(self.question(word)),
                    _ => return cx.stop(),
                },
            }
        }
        match self.link {
            Link::Down => self.reach(self.route.current(), cx),
            Link::Opening => {}
            Link::Connection(_) | Link::Socket(_) => self.ask(cx),
        }
    }

    fn question(&self, message: Vec<u8>) -> Asked {
        let expected = (self.expects)(&message);
        Asked::new(message, expected)
    }

    fn reach(&mut self, address: Option<SocketAddr>, cx: &mut Context<'_>) {
        let Some(address) = address else { return };
        self.link = Link::Opening;
        match self.transport {
            Transport::Tcp => cx.connect(address),
            Transport::Udp => cx.open_socket(0, DatagramSpec::connected(address)),
        }
    }

    fn has_reached(&mut self, link: Link, cx: &mut Context<'_>) {
        self.link = link;
        self.answers = 0;
        if !std::mem::replace(&mut self.reached, true) {
            self.messages.start(cx);
        }
        self.go_on(cx);
    }

    fn not_reached(&mut self, error: &io::Error, cx: &mut Context<'_>) {
        match self.route.next() {
            Some(address) => self.reach(Some(address), cx),
            None => cx.fail(self.route.unreachable(error)),
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>) {
        let Some(asked) = &self.asked else { return };
        match (self.link, self.route.current()) {
            (Link::Connection(server), _) => cx.tell(server, &asked.message),
            (Link::Socket(socket), Some(server)) => cx.send_to(socket, server, &asked.message),
            _ => return,
        }
        self.answer_by = self.timeout.limit().map(|limit| cx.now() + limit);
        self.wait_for_the_end(cx);
    }

    /// Waits for the rest of an answer that shows where it ends.
    fn wait_for_the_end(&self, cx: &mut Context<'_>) {
        match self.answer_by {
            Some(at) => cx.set_tick(at),
            None => cx.clear_tick(),
        }
    }

    /// Takes a piece of an answer over TCP.
    fn hear(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let Some(asked) = &mut self.asked else { return self.hear_unasked(bytes, cx) };
        asked.hear(bytes);
        if asked.answer.len() > LONGEST_ANSWER {
            cx.fail(format!("{} does not stop answering: over {LONGEST_ANSWER} bytes", self.route));
        } else if asked.is_whole() || asked.is_wrong() {
            self.conclude(cx);
        } else if asked.must_go_on() {
            self.wait_for_the_end(cx);
        } else if self.answer_by.is_some_and(|at| at <= cx.now()) {
            self.out_of_time(cx);
        } else if !asked.answer.is_empty() {
            // The silence may last beyond the deadline; no byte after that counts.
            cx.set_tick(cx.now() + QUIET);
        }
    }

    /// Prints what comes between two messages: it is not an answer, but is not lost
    /// either.
    fn hear_unasked(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let expected = (self.expects)(b"");
        if expected.forgives_line_ends() && bytes.trim_ascii().is_empty() {
            // The line end of the last answer, which was whole without it.
            return;
        }
        if print_answer(bytes, cx) && matches!(expected, Expected::Same) {
            cx.fail(format!("{} sends more than it was sent: it is not an echo server", self.route));
        }
    }

    /// The answer is complete, or wrong already: prints it and goes on.
    fn conclude(&mut self, cx: &mut Context<'_>) {
        let Some(asked) = self.asked.take() else { return };
        self.answers += 1;
        cx.clear_tick();
        if !print_answer(&asked.answer, cx) {
            return;
        }
        if let Some(flaw) = asked.flaw() {
            return cx.fail(format!("{} {flaw}", self.route));
        }
        self.go_on(cx);
    }

    /// The answer is not complete and never will be: prints what has come of it.
    fn give_up(&mut self, why: &str, cx: &mut Context<'_>) {
        let Some(asked) = self.asked.take() else { return };
        if asked.answer.is_empty() {
            cx.fail(format!("{} {why}; check what the server itself reports", self.route));
        } else if print_answer(&asked.answer, cx) {
            let came = counted(asked.answer.len(), "byte");
            cx.fail(format!("{} {why} after {came} of its answer, which may be cut", self.route));
        }
    }

    /// The answer is not complete, and it should be by now.
    fn out_of_time(&mut self, cx: &mut Context<'_>) {
        let timeout = self.timeout;
        if self.asked.as_ref().is_some_and(|asked| !asked.answer.is_empty()) {
            return self.give_up(&format!("was not done within {timeout}"), cx);
        }
        let transport = if self.transport == Transport::Tcp { "TCP" } else { "UDP" };
        cx.fail(format!(
            "no answer from {} within {timeout}: check that it is the {transport} port of such a server",
            self.route
        ));
    }

    /// The connection ended, in order if there is no `cause`.
    fn hung_up(&mut self, cause: Option<&str>, cx: &mut Context<'_>) {
        self.link = Link::Down;
        let Some(asked) = &mut self.asked else { return };
        if asked.answer.is_empty() && self.answers > 0 && !std::mem::replace(&mut asked.again, true) {
            // It closed after its last answer, while this message was on its way.
            return self.reach(self.route.current(), cx);
        }
        match cause {
            None if !asked.answer.is_empty() => self.conclude(cx),
            None => self.give_up("closed the connection without an answer", cx),
            Some(cause) => self.give_up(cause, cx),
        }
    }
}

impl Service for Ask {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.route.look_up(cx);
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        match self.route.found(answer) {
            Ok(first) => self.reach(Some(first), cx),
            Err(sentence) => cx.fail(sentence),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        if let Some(connection) = cx.connection() {
            self.has_reached(Link::Connection(connection), cx);
        }
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        input.consume_all();
        self.hear(bytes, cx);
    }

    fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
        self.hung_up(None, cx);
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::NotConnected(error) => self.not_reached(error, cx),
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            _ if cx.connection().map(Link::Connection) != Some(self.link) => {}
            CloseReason::Reset => self.hung_up(Some("reset the connection"), cx),
            why => self.hung_up(Some(&format!("is lost ({why})")), cx),
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => self.has_reached(Link::Socket(socket), cx),
            // Late news about a question that was answered.
            Err(_) if self.asked.is_none() && self.link != Link::Opening => {}
            Err(error) => {
                if let Link::Socket(socket) = self.link {
                    cx.close_socket(socket);
                    cx.clear_tick();
                }
                self.not_reached(&error, cx);
            }
        }
    }

    fn datagram(&mut self, on: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if let Some(asked) = &mut self.asked
            && self.link == Link::Socket(on)
        {
            asked.answer = datagram.to_vec();
            self.conclude(cx);
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(asked) = &self.asked else { return };
        if asked.answer.is_empty() || asked.must_go_on() {
            self.out_of_time(cx);
        } else {
            self.conclude(cx);
        }
    }

    fn keyboard(&mut self, typed: Option<&[u8]>, cx: &mut Context<'_>) {
        if typed.is_some() {
            self.prompt.answered();
        }
        self.messages.typed(typed, cx);
        if self.asked.is_none() {
            self.go_on(cx);
        }
    }
}
