//! `onepoll chat`: keyboard and socket on one Poll.
//!
//! What is typed goes out as one `send` a line, without the line end, as the
//! course's programs do it. TCP keeps no boundaries between messages, so two
//! lines of a script that were sent at once would arrive as one message (and a
//! "bye" behind it would be read as text): lines go out a moment apart.

use std::time::Duration;

use clap::Args;
use onepoll::reactor::{ConnectionId, SocketOptions};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};
use onepoll::wire::text::incomplete_suffix;

use super::messages::{Messages, Next};
use super::screen::print_between;
use super::target::{Route, Target};
use super::{ClientError, run_service};

/// Between two messages: enough for a server to read them one by one.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the rest of a cut character is awaited.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// The command line of `chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Put [NAME] in front of each message, as the course's programs do
    #[arg(long, value_parser = parse_name)]
    name: Option<String>,
    /// The server; an IPv6 address stands in brackets, as in [::1]:9999
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

fn parse_name(text: &str) -> Result<String, &'static str> {
    let breaks_lines = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.is_empty() {
        Err("the name is empty; leave --name out to have none")
    } else if text.chars().any(breaks_lines) {
        Err("a name has no control characters and no line ends")
    } else {
        Ok(text.to_owned())
    }
}

/// Whether a message is for the server: it knows such a one only when nothing
/// stands in front of it.
fn is_command(message: &[u8]) -> bool {
    message.starts_with(b"/nick ")
        || matches!(message.trim_ascii_end(), b"/nick" | b"/who" | b"/help" | b"/quit")
}

/// Chats until the user leaves or the server closes.
pub fn run(arguments: ChatArgs) -> Result<(), ClientError> {
    let prefix = match arguments.name {
        Some(name) => format!("[{name}] ").into_bytes(),
        None => Vec::new(),
    };
    let client = Chat {
        route: Route::new(arguments.target),
        prefix,
        messages: Messages::from_keyboard(),
        server: None,
        may_end: false,
        has_left: false,
    };
    run_service("chat", client, SocketOptions::default())
}

struct Chat {
    route: Route,
    /// What stands in front of each message.
    prefix: Vec<u8>,
    messages: Messages,
    server: Option<ConnectionId>,
    /// `/quit` was said: a server that knows it closes, and that is no failure.
    may_end: bool,
    /// `bye` is said, and the loop ends once it has gone out.
    has_left: bool,
}

impl Chat {
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let Some(server) = self.server else { return };
        if self.has_left {
            return;
        }
        match self.messages.next(cx) {
            Next::Message(message) => {
                let prefix = if is_command(&message) { &[] } else { self.prefix.as_slice() };
                cx.tell(server, &[prefix, &message].concat());
                self.may_end = message.trim_ascii_end() == b"/quit";
                // Until then nothing else is typed: what waits keeps standard
                // input unread, and only asking for the next message reads on.
                cx.set_tick(cx.now() + PAUSE);
            }
            Next::NotYet => {}
            Next::End => {
                cx.tell(server, b"bye");
                // The server may close before what is unsent has gone out, which
                // is no failure any more.
                self.has_left = true;
                cx.stop();
            }
        }
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

    fn finished(&mut self, answer: Answer, cx: &mut Context<'_>) {
        match self.route.found(answer) {
            Ok(first) => cx.connect(first),
            Err(sentence) => cx.fail(sentence),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.server = cx.connection();
        self.messages.start(cx);
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        let cut = incomplete_suffix(bytes);
        let whole = &bytes[..bytes.len() - cut];
        input.consume(whole.len());
        if cut > 0 {
            cx.set_deadline_after(HOLD_BACK);
        }
        if !whole.is_empty() {
            // If nobody reads it any more, the client ends by itself.
            let _ = print_between(whole, cx);
        }
    }

    fn timeout(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let rest = input.unread();
        input.consume_all();
        if !rest.is_empty() {
            let _ = print_between(rest, cx);
        }
    }

    fn end_of_input(&mut self, session: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.timeout(session, input, cx);
        cx.close();
        self.ended("closed the connection", cx);
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            CloseReason::NotConnected(error) => match self.route.next() {
                Some(address) => cx.connect(address),
                None => cx.fail(self.route.unreachable(error)),
            },
            CloseReason::Reset => self.ended("reset the connection", cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.go_on(cx);
    }

    fn keyboard(&mut self, typed: Option<&[u8]>, cx: &mut Context<'_>) {
        self.messages.typed(typed, cx);
        self.go_on(cx);
    }
}
