//! Signals: events of a reactor while it runs, with their usual effect before and after.
//!
//! A handler outlives the reactor that it was installed for. Without this module, only
//! SIGKILL could end a program whose loop is over but which still waits for the reader of
//! a pipe. SIGHUP needs no such care: only the daemon handles it, and the daemon ends
//! with its loop.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use onepoll::reactor::{Reactor, RunError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;

/// Whether no reactor takes the signals, so that they have their default effect.
static HAVE_DEFAULT_ACTION: AtomicBool = AtomicBool::new(false);

/// Lets a reactor take Ctrl-C and SIGTERM while it [runs](run).
///
/// # Errors
/// If no signal pipe can be made.
pub fn watch(reactor: &mut Reactor) -> io::Result<()> {
    restore_after_run()?;
    reactor.watch_signals()
}

/// As [`watch`], for a daemon: the reactor takes SIGHUP, SIGUSR1 and SIGUSR2 too. They
/// end a client, as they do any program.
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
