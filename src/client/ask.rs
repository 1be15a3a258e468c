//! `onepoll echo|upper|number|time|json|hello`: a message, its answer, the next
//! message.
//!
//! Over TCP they speak as the course's programs do: one `send` a message,
//! without a terminator, and the answer before the next message. Nothing in
//! that says where an answer ends, so [`Asked`] has to judge. A server may
//! close after each answer; then the next message takes a new connection. None
//! of the clients ever waits for the server to close.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use onepoll::reactor::{ConnectionId, DatagramSpec, SocketId, SocketOptions, Transport};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};

use super::asked::Asked;
use super::json_values::{JsonArgument, parse_argument};
use super::messages::{Messages, Next};
use super::screen::{Prompt, counted, print_answer};
use super::target::{Route, Target};
use super::{ClientError, Timeout, parse_timeout, run_service};

/// An answer over TCP that does not show its end has ended when no byte came
/// for this long: longer than a server writes at its pieces, and not so long
/// that a person waits.
const QUIET: Duration = Duration::from_millis(200);
/// How long a server may take to answer, unless the user says otherwise. A
/// datagram may be lost on its way, a connection's bytes cannot.
const UDP_TIMEOUT: Timeout = Timeout(Duration::from_secs(3));
const TCP_TIMEOUT: Timeout = Timeout(Duration::from_secs(10));
/// Bytes of one answer, so that a server cannot fill our memory.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The command line of `echo`, `upper` and `number`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Ask over UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// How long to wait for an answer, 0 for ever (default 3s over UDP, 10s over TCP)
    #[arg(long, value_parser = parse_timeout)]
    timeout: Option<Timeout>,
    /// The server; an IPv6 address stands in brackets, as in [::1]:3333
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// What to send, one answer each; without it, the lines of standard input
    #[arg(value_name = "MESSAGE")]
    messages: Vec<OsString>,
}

/// The command line of `time`.
#[derive(Debug, Args)]
pub struct TimeArgs {
    /// Ask over UDP instead of TCP
    #[arg(long)]
    udp: bool,
    /// How long to wait for an answer, 0 for ever (default 3s over UDP, 10s over TCP)
    #[arg(long, value_parser = parse_timeout)]
    timeout: Option<Timeout>,
    /// The server; an IPv6 address stands in brackets, as in [::1]:5000
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

/// The command line of `json`.
#[derive(Debug, Args)]
pub struct JsonArgs {
    // A server says what it lacks of a value when it has waited for 10 s; that
    // has to come first.
    /// How long to wait for an answer, 0 for ever
    #[arg(long, value_parser = parse_timeout, default_value = "15s")]
    timeout: Timeout,
    /// The server; an IPv6 address stands in brackets, as in [::1]:9000
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// What to send, one answer for each value; without it, the values of standard input
    #[arg(value_name = "JSON", value_parser = OsStringValueParser::new().try_map(parse_json))]
    values: Vec<JsonArgument>,
}

/// The command line of `hello`.
#[derive(Debug, Args)]
pub struct HelloArgs {
    /// How long to wait for an answer, 0 for ever
    #[arg(long, value_parser = parse_timeout, default_value = "3s")]
    timeout: Timeout,
    /// The server; an IPv6 address stands in brackets, as in [::1]:20001
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

impl From<TimeArgs> for AskArgs {
    fn from(TimeArgs { udp, timeout, target }: TimeArgs) -> AskArgs {
        // A time server answers any datagram; over TCP it tells the time at once.
        let message = if udp { "time" } else { "" };
        AskArgs { udp, timeout, target, messages: vec![message.into()] }
    }
}

impl From<JsonArgs> for AskArgs {
    fn from(JsonArgs { timeout, target, values }: JsonArgs) -> AskArgs {
        let values = values.into_iter().flat_map(|JsonArgument(values)| values);
        let messages = values.map(OsString::from_vec).collect();
        AskArgs { udp: false, timeout: Some(timeout), target, messages }
    }
}

fn parse_json(text: OsString) -> Result<JsonArgument, String> {
    parse_argument(text.as_bytes())
}

impl From<HelloArgs> for AskArgs {
    fn from(HelloArgs { timeout, target }: HelloArgs) -> AskArgs {
        AskArgs { udp: true, timeout: Some(timeout), target, messages: vec!["Hello UDP Server".into()] }
    }
}

/// What is asked for: it tells how an answer can look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// The message itself comes back.
    Echo,
    /// The message comes back in upper case.
    Upper,
    /// A word or two.
    Number,
    /// One line of text, without being sent anything over TCP.
    Time,
    /// A JSON value.
    Json,
    /// One datagram.
    Hello,
}

/// Asks until the messages end.
pub fn run(question: Question, arguments: AskArgs) -> Result<(), ClientError> {
    let AskArgs { udp, timeout, target, messages } = arguments;
    let transport = if udp { Transport::Udp } else { Transport::Tcp };
    let messages = match question {
        Question::Json if messages.is_empty() => Messages::values_from_keyboard(),
        _ => Messages::of_arguments(messages.into_iter().map(OsString::into_vec).collect()),
    };
    // Nothing sent is nothing asked, except that a datagram may be empty.
    let messages = if udp || question == Question::Time { messages } else { messages.without_empty() };
    let client = Ask {
        question,
        transport,
        route: Route::new(target),
        timeout: timeout.unwrap_or(if udp { UDP_TIMEOUT } else { TCP_TIMEOUT }),
        messages,
        link: Link::Opening,
        reached: false,
        answers: 0,
        asked: None,
        prompt: Prompt::default(),
    };
    run_service("client", client, SocketOptions::default())
}

/// The client of one server.
struct Ask {
    question: Question,
    transport: Transport,
    route: Route,
    timeout: Timeout,
    messages: Messages,
    link: Link,
    /// The server was reached once.
    reached: bool,
    /// Answers that came over the present link.
    answers: u64,
    /// The message that waits for its answer.
    asked: Option<Asked>,
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
                Next::Message(message) => self.asked = Some(Asked::new(self.question, message)),
                Next::NotYet => return self.prompt.show(),
                Next::End => match self.messages.take_end_word() {
                    // The course's echo server takes it as the end, too.
                    Some(word) if self.question == Question::Echo && word == b"/end" => {
                        self.asked = Some(Asked::new(self.question, word));
                    }
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

    fn reach(&mut self, address: Option<SocketAddr>, cx: &mut Context<'_>) {
        let Some(address) = address else { return };
        self.link = Link::Opening;
        match self.transport {
            Transport::Tcp => cx.connect(address),
            Transport::Udp => cx.open_socket(DatagramSpec::connected(address)),
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
        self.wait(self.timeout.limit(), cx);
    }

    fn wait(&self, limit: Option<Duration>, cx: &mut Context<'_>) {
        match limit {
            Some(limit) => cx.set_tick(cx.now() + limit),
            None => cx.clear_tick(),
        }
    }

    /// Takes in some of an answer that came over TCP.
    fn hear(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        let Some(asked) = &mut self.asked else { return self.hear_unasked(bytes, cx) };
        asked.hear(bytes);
        if asked.answer.len() > LONGEST_ANSWER {
            cx.fail(format!("{} answers without end: over {LONGEST_ANSWER} bytes", self.route));
        } else if asked.is_whole() {
            self.conclude(cx);
        } else if !asked.answer.is_empty() {
            self.wait(Some(QUIET), cx);
        }
    }

    /// What comes between two messages is no answer, and not lost either.
    fn hear_unasked(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        if matches!(self.question, Question::Upper | Question::Number | Question::Json)
            && bytes.trim_ascii().is_empty()
        {
            // The line end of the last answer, which was whole without it.
            return;
        }
        if print_answer(bytes, cx) && self.question == Question::Echo {
            cx.fail(format!("{} sends more than it was sent: it is no echo server", self.route));
        }
    }

    /// The answer is there: prints it and goes on.
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

    /// The answer ends before it is whole: prints what there is of it.
    fn give_up(&mut self, why: &str, cx: &mut Context<'_>) {
        let Some(asked) = self.asked.take() else { return };
        if asked.answer.is_empty() {
            cx.fail(format!("{} {why}; look at what the server itself reports", self.route));
        } else if print_answer(&asked.answer, cx) {
            let came = counted(asked.answer.len(), "byte");
            cx.fail(format!("{} {why} after {came} of its answer, which may be cut", self.route));
        }
    }

    /// The connection ended: in order, if there is no `cause`.
    fn hung_up(&mut self, cause: Option<&str>, cx: &mut Context<'_>) {
        self.link = Link::Down;
        let Some(asked) = &mut self.asked else { return };
        if asked.answer.is_empty() && self.answers > 0 && !std::mem::replace(&mut asked.again, true) {
            // It closed after its last answer, as this message was on its way.
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

    fn finished(&mut self, answer: Answer, cx: &mut Context<'_>) {
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
            CloseReason::ShuttingDown => {}
            _ if cx.connection().map(Link::Connection) != Some(self.link) => {}
            CloseReason::Reset => self.hung_up(Some("reset the connection"), cx),
            why => self.hung_up(Some(&format!("is lost ({why})")), cx),
        }
    }

    fn socket(&mut self, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
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
        let timeout = self.timeout;
        let transport = if self.transport == Transport::Tcp { "TCP" } else { "UDP" };
        let Some(asked) = &mut self.asked else { return };
        if asked.answer.is_empty() {
            return cx.fail(format!(
                "no answer from {} within {timeout}: check that it is the {transport} port of such a server",
                self.route
            ));
        }
        let was_quiet = std::mem::replace(&mut asked.was_quiet, true);
        if !asked.must_go_on() {
            self.conclude(cx);
        } else if was_quiet {
            self.give_up(&format!("was silent for {timeout}"), cx);
        } else {
            self.wait(timeout.limit(), cx);
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
