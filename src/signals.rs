//! Signals: events of a reactor while it runs, and what they always were before
//! and after.
//!
//! A handler outlives the reactor that it was installed for. Without this, a
//! program whose loop is over, but which still waits for the reader of a pipe,
//! could be ended by nothing but SIGKILL. SIGHUP needs
//! no such care: only the daemon takes it, and the daemon ends with its loop.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use onepoll::reactor::{Reactor, RunError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;

/// No reactor takes the signals: they do what they do to any program.
static HAVE_DEFAULT_ACTION: AtomicBool = AtomicBool::new(false);

/// Lets a reactor take Ctrl-C and SIGTERM while it [runs](run).
///
/// # Errors
/// When the system gives no signal pipe.
pub fn watch(reactor: &mut Reactor) -> io::Result<()> {
    restore_after_run()?;
    reactor.watch_signals()
}

/// As [`watch`], for a daemon: the reactor takes SIGHUP, SIGUSR1 and SIGUSR2
/// too. A client is ended by them, as any program that its terminal starts.
///
/// # Errors
/// As [`watch`].
pub fn watch_as_daemon(reactor: &mut Reactor) -> io::Result<()> {
    restore_after_run()?;
    reactor.watch_daemon_signals()
}

fn restore_after_run() -> io::Result<()> {
    static REGISTERED: Once = Once::new();
    let mut outcome = Ok(());
    REGISTERED.call_once(|| {
        outcome = [SIGINT, SIGTERM]
            .into_iter()
            .try_for_each(|signal| register_conditional_default(signal, &HAVE_DEFAULT_ACTION).map(drop));
    });
    outcome
}

/// Runs a reactor to its end, after which signals end the program.
///
/// # Errors
/// As [`Reactor::run`].
pub fn run(reactor: &mut Reactor) -> Result<(), RunError> {
    HAVE_DEFAULT_ACTION.store(false, Ordering::SeqCst);
    let outcome = reactor.run();
    HAVE_DEFAULT_ACTION.store(true, Ordering::SeqCst);
    outcome
}
