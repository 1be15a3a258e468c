//! Step 8: `async` and `await` on the same reactor, as in asyncio.
//!
//! The compiler turns an `async fn` into a state machine: the session of a service,
//! written for you. Something has to resume it when there is something to do. That
//! is an executor, and here it is [`Tasks`], about fifty lines. asyncio keeps a queue
//! of tasks to resume; here the callbacks of the reactor resume them, when input has
//! arrived, when the input has ended, and when all output is out.
//!
//!     cargo run --example step8_async_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1). Then write another
//! `async fn` in place of `echo`, for example one that reads a name first and greets.
//!
//! Watch: `strace -c -p PID` counts the same system calls as in step 6. What `async`
//! costs is three copies per message and five heap allocations per connection: the
//! future, what it shares with the executor, and three buffers, which grow to the
//! longest message and are used again for the next.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::process::{self, ExitCode};
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use env_logger::Env;
use onepoll::reactor::Reactor;
use onepoll::service::{Context, Input, Service};

/// With this much unsent, a task waits until it is out.
const HIGH_WATER_MARK: usize = 64 * 1024;

async fn echo(stream: Stream) {
    let mut message = Vec::new();
    while stream.read(&mut message).await > 0 {
        stream.write(&message).await;
    }
}

/// What a task shares with the executor, which fills `input` and sends `output`.
#[derive(Clone, Default)]
struct Stream(Rc<Shared>);

#[derive(Default)]
struct Shared {
    input: RefCell<Vec<u8>>,
    output: RefCell<Vec<u8>>,
    ended: Cell<bool>,
}

impl Stream {
    /// Waits for input, puts it into `message` and returns its length: 0 at the end.
    async fn read(&self, message: &mut Vec<u8>) -> usize {
        wait_until(|| !self.0.input.borrow().is_empty() || self.0.ended.get()).await;
        message.clear();
        // The two buffers change places, so that no message needs a new one.
        mem::swap(message, &mut self.0.input.borrow_mut());
        message.len()
    }

    /// Hands over `bytes`; waits only if too much is unsent, as asyncio's `drain` does.
    async fn write(&self, bytes: &[u8]) {
        self.0.output.borrow_mut().extend_from_slice(bytes);
        wait_until(|| !self.is_full()).await;
    }

    fn is_full(&self) -> bool {
        self.0.output.borrow().len() >= HIGH_WATER_MARK
    }
}

async fn wait_until(condition: impl Fn() -> bool) {
    poll_fn(|_| if condition() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// The executor.
struct Tasks;

#[derive(Default)]
struct Task {
    stream: Stream,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Tasks {
    /// Runs a task until it waits again, and sends what it has written.
    fn resume(task: &mut Task, cx: &mut Context<'_>) {
        let stream = &task.stream;
        if stream.is_full() {
            // `room_to_send` will resume it.
            return;
        }
        let future = task.future.get_or_insert_with(|| Box::pin(echo(stream.clone())));
        let outcome = future.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        cx.send(&stream.0.output.borrow());
        if outcome.is_ready() {
            cx.close();
        } else if stream.is_full() {
            cx.more_to_send();
        } else {
            stream.0.output.borrow_mut().clear();
        }
    }
}

impl Service for Tasks {
    type Session = Task;

    fn receive(&mut self, task: &mut Task, input: &mut Input<'_>, cx: &mut Context<'_>) {
        task.stream.0.input.borrow_mut().extend_from_slice(input.unread());
        input.consume_all();
        Tasks::resume(task, cx);
    }

    fn end_of_input(&mut self, task: &mut Task, _: &mut Input<'_>, cx: &mut Context<'_>) {
        task.stream.0.ended.set(true);
        Tasks::resume(task, cx);
    }

    fn room_to_send(&mut self, task: &mut Task, cx: &mut Context<'_>) {
        task.stream.0.output.borrow_mut().clear();
        Tasks::resume(task, cx);
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let address = address
        .parse()
        .map_err(|_| format!("{address} is not an IP address with a port, such as 127.0.0.1:3333"))?;
    let mut reactor = Reactor::new()?;
    reactor.watch_signals()?;
    let (_, bound) = reactor.host("tasks", Tasks).tcp(address).start()?;
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
