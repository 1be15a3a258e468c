//! Step 8: `async` and `await` on the same reactor, as asyncio does it.
//!
//! An `async fn` is compiled into a state machine: the session of a service, written
//! by the compiler. Somebody has to call it when there is something to do: that is
//! an executor, and here it is [`Tasks`], about forty lines. Where asyncio keeps a
//! queue of tasks to wake, the callbacks of the reactor are the wake-ups: bytes have
//! come, the end has come, everything sent is out.
//!
//!     cargo run --example step8_async_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333`; then write another `async fn` in the place of `echo`,
//! for example one that reads a name first and greets.
//!
//! Watch: `strace -c -p PID`: the same system calls as step 6; what `async` costs is
//! user time and a heap allocation a connection.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::process::{self, ExitCode};
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use env_logger::Env;
use onepoll::reactor::Reactor;
use onepoll::service::{Context, Input, Service};

async fn echo(stream: Stream) {
    loop {
        let message = stream.read().await;
        if message.is_empty() {
            return;
        }
        stream.write(&message).await;
    }
}

/// What a task and its executor share: the task awaits it, the executor fills it.
#[derive(Clone, Default)]
struct Stream(Rc<Shared>);

#[derive(Default)]
struct Shared {
    input: RefCell<Vec<u8>>,
    output: RefCell<Vec<u8>>,
    ended: Cell<bool>,
}

impl Stream {
    /// What has come; empty at the end.
    async fn read(&self) -> Vec<u8> {
        let has_some = |bytes: &Vec<u8>| !bytes.is_empty() || self.0.ended.get();
        wait_for(|| has_some(&self.0.input.borrow())).await;
        self.0.input.take()
    }

    /// Returns when everything is out.
    async fn write(&self, bytes: &[u8]) {
        self.0.output.borrow_mut().extend_from_slice(bytes);
        wait_for(|| self.0.output.borrow().is_empty()).await;
    }
}

async fn wait_for(mut is_so: impl FnMut() -> bool) {
    poll_fn(|_| if is_so() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// The executor.
struct Tasks;

#[derive(Default)]
struct Task {
    stream: Stream,
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Tasks {
    /// Runs a task until it waits again, and passes on what it wrote meanwhile.
    fn step(task: &mut Task, cx: &mut Context<'_>) {
        let future = task.future.get_or_insert_with(|| Box::pin(echo(task.stream.clone())));
        let outcome = future.as_mut().poll(&mut task::Context::from_waker(Waker::noop()));
        cx.send(&task.stream.0.output.borrow());
        match outcome {
            Poll::Ready(()) => cx.close(),
            Poll::Pending if task.stream.0.output.borrow().is_empty() => {}
            Poll::Pending => cx.more_to_send(),
        }
    }
}

impl Service for Tasks {
    type Session = Task;

    fn receive(&mut self, task: &mut Task, input: &mut Input<'_>, cx: &mut Context<'_>) {
        task.stream.0.input.borrow_mut().extend_from_slice(input.unread());
        input.consume_all();
        // A task that waits for its output to go out is woken by that.
        if task.stream.0.output.borrow().is_empty() {
            Tasks::step(task, cx);
        }
    }

    fn room_to_send(&mut self, task: &mut Task, cx: &mut Context<'_>) {
        task.stream.0.output.borrow_mut().clear();
        Tasks::step(task, cx);
    }

    fn end_of_input(&mut self, task: &mut Task, _: &mut Input<'_>, cx: &mut Context<'_>) {
        task.stream.0.ended.set(true);
        if task.stream.0.output.borrow().is_empty() {
            Tasks::step(task, cx);
        }
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
