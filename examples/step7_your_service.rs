//! Step 7: a service of your own, where socketserver has its `handle()`.
//!
//! This one keeps score: it answers each line with its number among this client's
//! lines and among everybody's. `Score` is shared by all clients, a `Session` belongs
//! to one of them; there is only one thread, so neither needs a lock. A line may
//! arrive in any number of pieces, or ten lines in one piece: what the service leaves
//! unread is shown to it again, in front of the bytes that come next.
//!
//!     cargo run --example step7_your_service [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals. Then a last line without a line end,
//! `printf '안녕\n하세요' | nc -N 127.0.0.1 3333`: at the end of its input `nc -N`
//! half-closes, and still gets both answers. Without `nc`, use `onepoll echo`:
//! `cargo run -- echo 127.0.0.1:3333 $'안녕\n'` shows the answer, and then complains
//! that this is no echo server.
//!
//! Watch: half a line. Type 하세 into `nc` and press Ctrl-D instead of Enter: nothing
//! happens. Type 요 and Enter within ten seconds, and the line is answered. Otherwise
//! the reactor closes the connection (`Limits::message_timeout`), and the log says so.
//! Next, step 8: the same readiness as `async` and `await`.

use std::error::Error;
use std::process::{self, ExitCode};

use env_logger::Env;
use onepoll::reactor::Reactor;
use onepoll::service::{Context, Input, Service};

#[derive(Default)]
struct Score {
    lines: u64,
}

#[derive(Default)]
struct Session {
    lines: u64,
}

impl Score {
    fn answer(&mut self, session: &mut Session, line: &[u8], cx: &mut Context<'_>) {
        self.lines += 1;
        session.lines += 1;
        let line = String::from_utf8_lossy(line);
        cx.send(format!("{}/{}: {line}\n", session.lines, self.lines).as_bytes());
    }
}

impl Service for Score {
    type Session = Session;

    fn receive(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(end) = input.unread().iter().position(|byte| *byte == b'\n') {
            let line = &input.unread()[..end];
            input.consume(end + 1);
            self.answer(session, line, cx);
        }
    }

    /// The client sends no more, and still listens. Its last line may lack a line end.
    fn end_of_input(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if !input.unread().is_empty() {
            self.answer(session, input.unread(), cx);
        }
        cx.close();
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let address = address
        .parse()
        .map_err(|_| format!("{address} is not an IP address with a port, such as 127.0.0.1:3333"))?;
    let mut reactor = Reactor::new()?;
    reactor.watch_signals()?;
    let (_, bound) = reactor.host("score", Score::default()).tcp(address).start()?;
    println!("listening on {}, PID {}", bound[0].address, process::id());
    reactor.run()?;
    Ok(())
}

fn main() -> ExitCode {
    env_logger::init_from_env(Env::default().default_filter_or("info"));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let Err(error) = serve(&address) else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}
