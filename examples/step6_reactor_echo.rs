//! Step 6: the reactor. The echo of step 5 without its bookkeeping.
//!
//! The reactor knows sockets and no protocol; a `Service` knows a protocol and no
//! socket. What the socket does not take, the reactor keeps, and it does not read that
//! client until all of it is out. What cost step 5 an `epoll_ctl` is free here: each
//! socket is registered once, edge-triggered and for both directions, and the reactor
//! remembers that it is ready until a system call proves otherwise.
//!
//!     cargo run --example step6_reactor_echo [ADDRESS]
//!     RUST_LOG=debug cargo run --example step6_reactor_echo
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1) in two terminals; then
//! the client that never reads, from step 4. Once it has taken nothing for a minute
//! (`Limits::send_timeout`), it is cut, and the log says so. Start it again, and press
//! Ctrl-C here: the server logs `shutting down: sending the output that is still in flight`,
//! gives that client five seconds (`Limits::drain_timeout`), and ends. A second Ctrl-C
//! ends it at once.
//!
//! Watch: with `RUST_LOG=debug`, the log has a line for the start and the end of each
//! connection. `strace -c -p PID` counts one `recvfrom`, one `sendto` and at most one
//! `epoll_wait` per message, and no `epoll_ctl` after the one at accept. The loop is
//! `Reactor::turn` in `src/reactor/mod.rs`. Next, step 7: a protocol of your own.

use std::error::Error;
use std::process::{self, ExitCode};

use env_logger::Env;
use onepoll::reactor::Reactor;
use onepoll::service::{Context, Input, Service};

struct Echo;

impl Service for Echo {
    /// Nothing has to be remembered about a client.
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        // The answer is a range of the input, so not a byte of it is copied.
        cx.send_input(input.consume_all());
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let address = address
        .parse()
        .map_err(|_| format!("{address} is not an IP address with a port, such as 127.0.0.1:3333"))?;
    let mut reactor = Reactor::new()?;
    reactor.watch_signals()?;
    let (_, bound) = reactor.host("echo", Echo).tcp(address).start()?;
    println!("listening on {}, PID {}", bound[0].address, process::id());
    reactor.run()?;
    Ok(())
}

fn main() -> ExitCode {
    // What the reactor reports, from `info` up unless RUST_LOG says otherwise.
    env_logger::init_from_env(Env::default().default_filter_or("info"));
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let Err(error) = serve(&address) else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}
