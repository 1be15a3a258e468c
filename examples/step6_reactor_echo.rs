//! Step 6: the reactor. The echo of step 5 without its bookkeeping.
//!
//! The reactor knows sockets and no protocol; a `Service` knows a protocol and no
//! socket. What the socket does not take, the reactor keeps, and does not read that
//! client until it is out. What step 5 did with a `modify` costs nothing here: each
//! socket is registered once, for both directions and edge-triggered, and its
//! readiness is remembered until a system call disproves it.
//!
//!     cargo run --example step6_reactor_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals; then the client that never reads, of
//! step 4; then Ctrl-C while that client is connected, and once more.
//!
//! Watch: `strace -c -p PID` while clients talk: one read, one write and at most one
//! `epoll_wait` a message, and no `epoll_ctl` after the one at accept. The loop is
//! `Reactor::turn` in `src/reactor/mod.rs`. Next, step 7: a protocol of your own.

use std::error::Error;

use onepoll::reactor::Reactor;
use onepoll::service::{Context, Input, Service};

struct Echo;

impl Service for Echo {
    /// Nothing has to be remembered of a client.
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        // The answer is a range of the input: not a byte of it is copied.
        cx.send_input(input.consume_all());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let mut reactor = Reactor::new()?;
    reactor.watch_signals()?;
    let (_, bound) = reactor.host("echo", Echo).tcp(address.parse()?).start()?;
    println!("listening on {}", bound[0].address);
    reactor.run()?;
    Ok(())
}
