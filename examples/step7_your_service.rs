//! Step 7: a service of your own, where socketserver has its `handle()`.
//!
//! This one keeps score: each line is answered with its number among this client's
//! lines and among everybody's. `Score` is shared by all clients, `Session` belongs
//! to one; there is one thread, so neither needs a lock. A line may arrive in any
//! number of pieces, or ten lines in one: what is left unread is shown again, in
//! front of the bytes that come next.
//!
//!     cargo run --example step7_your_service [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals; `printf '안녕\n하세' | nc ...`.
//!
//! Watch: what happens at half a line: nothing, until ten seconds have passed; then
//! the reactor's message timeout closes the connection. Next, step 8: the same
//! readiness as `async` and `await`.

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

impl Service for Score {
    type Session = Session;

    fn receive(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(end) = input.unread().iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&input.unread()[..end]).into_owned();
            input.consume(end + 1);
            self.lines += 1;
            session.lines += 1;
            cx.send(format!("{}/{}: {line}\n", session.lines, self.lines).as_bytes());
        }
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
