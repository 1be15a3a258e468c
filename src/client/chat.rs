//! `onepoll chat`: keyboard and socket on one Poll.
//!
//! What is typed goes out as one `send` a line, without the line end, as the
//! course's programs do it. TCP keeps no boundaries between messages, so two
//! lines of a script that were sent at once would arrive as one message (and a
//! "bye" behind it would be read as text): lines go out a moment apart.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use clap::Args;
use onepoll::reactor::{ConnectionId, SocketOptions};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};
use onepoll::wire::text::incomplete_suffix;

use super::messages::{Messages, Next};
use super::screen::print_line;
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
    #[arg(long)]
    name: Option<OsString>,
    /// The server; an IPv6 address stands in brackets, as in [::1]:9999
    #[arg(value_name = "HOST:PORT")]
    target: Target,
}

/// Chats until the user leaves or the server closes.
pub fn run(arguments: ChatArgs) -> Result<(), ClientError> {
    let prefix = match arguments.name {
        Some(name) => [b"[", name.into_vec().as_slice(), b"] "].concat(),
        None => Vec::new(),
    };
    let client = Chat {
        route: Route::new(arguments.target),
        prefix,
        messages: Messages::from_keyboard(),
        server: None,
        is_pausing: false,
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
    /// A message went out just now.
    is_pausing: bool,
    /// `bye` is said, and the loop ends once it has gone out.
    has_left: bool,
}

impl Chat {
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let Some(server) = self.server else { return };
        if self.is_pausing || self.has_left {
            return;
        }
        match self.messages.next(cx) {
            Next::Message(message) => {
                cx.tell(server, &[self.prefix.as_slice(), &message].concat());
                self.is_pausing = true;
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
            let _ = print_line(whole, cx);
        }
    }

    fn timeout(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let rest = input.unread();
        input.consume_all();
        if !rest.is_empty() {
            let _ = print_line(rest, cx);
        }
    }

    fn end_of_input(&mut self, session: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.timeout(session, input, cx);
        cx.close();
        self.ended("closed the connection", cx);
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::ShuttingDown => {}
            CloseReason::NotConnected(error) => match self.route.next() {
                Some(address) => cx.connect(address),
                None => cx.fail(self.route.unreachable(error)),
            },
            CloseReason::Reset => self.ended("reset the connection", cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.is_pausing = false;
        self.go_on(cx);
    }

    fn keyboard(&mut self, typed: Option<&[u8]>, cx: &mut Context<'_>) {
        self.messages.typed(typed, cx);
        self.go_on(cx);
    }
}
