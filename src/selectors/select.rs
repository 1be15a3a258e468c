//! Python's `select.select`.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use super::{EVENT_READ, EVENT_WRITE, Events, Selector, SelectorError};

/// The descriptors that [`select()`] found readable, writable and in an
/// exceptional condition.
pub type ReadyLists = (Vec<RawFd>, Vec<RawFd>, Vec<RawFd>);

/// Waits until one of the descriptors is ready, as Python's `select.select`
/// does. It takes three lists and returns, from each, the descriptors that can
/// be read, can be written or have an exceptional condition, in the given order
/// and without repeats.
///
/// `timeout` works as in [`Selector::select`]; three empty lists mean that it
/// has expired or that a signal came. Regular files are always ready, as with
/// select(2). An exceptional condition is EPOLLPRI, which means urgent data on
/// a TCP socket (poll(2)); outside Linux the third list stays empty.
///
/// Every call registers all descriptors anew, so it costs one system call for
/// each of them, ready or not; a [`Selector`] registers once. Unlike select(2),
/// it accepts descriptors above 1023.
///
/// # Errors
/// [`BadDescriptor`](SelectorError::BadDescriptor), or
/// [`System`](SelectorError::System) if the process has no descriptor left for
/// the call's own use.
///
/// # Example
/// ```
/// use onepoll::selectors::select;
/// use std::io::Write;
/// use std::os::fd::AsRawFd;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// writer.write_all(b"hello")?;
/// let (readable, writable, _) = select(&[reader.as_raw_fd()], &[writer.as_raw_fd()], &[], None)?;
/// assert_eq!(readable, [reader.as_raw_fd()]);
/// assert_eq!(writable, [writer.as_raw_fd()]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn select(
    read: &[RawFd],
    write: &[RawFd],
    except: &[RawFd],
    timeout: Option<Duration>,
) -> Result<ReadyLists, SelectorError> {
    let mut wanted: BTreeMap<RawFd, Events> = BTreeMap::new();
    for (list, event) in [(read, EVENT_READ), (write, EVENT_WRITE)] {
        for fd in list {
            *wanted.entry(*fd).or_default() |= event;
        }
    }
    let mut selector = Selector::new()?;
    let mut urgency = if except.is_empty() { None } else { Some(Urgency::new(except.len())?) };
    // A closed number in the lists may be one that these two have just been
    // given.
    for own in selector.fileno().into_iter().chain(urgency.as_ref().map(Urgency::fileno)) {
        if wanted.contains_key(&own) || except.contains(&own) {
            return Err(SelectorError::BadDescriptor { fd: own });
        }
    }

    let mut ready: BTreeMap<RawFd, Events> = BTreeMap::new();
    for (fd, events) in wanted {
        match selector.register(&fd, events, ()) {
            Ok(_) => {}
            Err(SelectorError::Unsupported { fd }) => {
                ready.insert(fd, events);
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(urgency) = &urgency {
        urgency.watch(except)?;
        selector.register(&urgency.fileno(), EVENT_READ, ())?;
    }

    let timeout = if ready.is_empty() { timeout } else { Some(Duration::ZERO) };
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let woken = selector.select(left)?;
        ready.extend(woken.iter().map(|(key, events)| (key.fd, *events)));
        let urgent = urgency.as_mut().map_or(Ok(BTreeSet::new()), Urgency::take)?;

        let read = once_each(read, |fd| ready.get(&fd).is_some_and(|e| e.contains(EVENT_READ)));
        let write = once_each(write, |fd| ready.get(&fd).is_some_and(|e| e.contains(EVENT_WRITE)));
        let except = once_each(except, |fd| urgent.contains(&fd));
        // A hang-up also wakes the watch for urgent data, and is not urgent
        // data.
        let false_alarm = read.is_empty() && write.is_empty() && except.is_empty();
        if !false_alarm || woken.is_empty() {
            return Ok((read, write, except));
        }
    }
}

/// The members of `list` that pass, in their order and without repeats.
fn once_each(list: &[RawFd], passes: impl Fn(RawFd) -> bool) -> Vec<RawFd> {
    let mut seen = BTreeSet::new();
    list.iter().copied().filter(|fd| passes(*fd) && seen.insert(*fd)).collect()
}

/// The interest that stands for an exceptional condition in mio.
#[cfg(any(target_os = "linux", target_os = "android"))]
const URGENT: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const URGENT: Option<Interest> = None;

/// Watches the third list with a `Poll` of its own: mio calls urgent data
/// readable too, and with a shared poll that would send the caller into a read
/// that blocks.
struct Urgency {
    poll: Poll,
    /// Large enough for every descriptor of the list, so that one look sees
    /// them all.
    batch: mio::Events,
}

impl Urgency {
    fn new(fds: usize) -> Result<Urgency, SelectorError> {
        let poll = Poll::new().map_err(|e| SelectorError::system("make a selector", e))?;
        Ok(Urgency { poll, batch: mio::Events::with_capacity(fds) })
    }

    fn fileno(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn watch(&self, fds: &[RawFd]) -> Result<(), SelectorError> {
        let Some(interest) = URGENT else { return Ok(()) };
        for fd in once_each(fds, |_| true) {
            let added = self.poll.registry().register(&mut SourceFd(&fd), Token(fd as usize), interest);
            match added.map_err(|e| SelectorError::refused(fd, e)) {
                // A regular file has no urgent data.
                Ok(()) | Err(SelectorError::Unsupported { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The descriptors that have come up since the last look.
    fn take(&mut self) -> Result<BTreeSet<RawFd>, SelectorError> {
        let looked = self.poll.poll(&mut self.batch, Some(Duration::ZERO));
        looked.map_err(|e| SelectorError::system("look for urgent data", e))?;
        Ok(self.batch.iter().filter(|e| e.is_priority()).map(|e| e.token().0 as RawFd).collect())
    }
}
