//! Python's `selectors` and `select` on top of mio.
//!
//! A [`Selector`] watches many descriptors at once. [`select()`] is the older
//! interface to the same thing and takes new lists at every call. Both are
//! level-triggered, although mio is edge-triggered: a descriptor that is still
//! ready is reported again.
//!
//! | Python | here |
//! | --- | --- |
//! | `sel = selectors.DefaultSelector()` | `let mut sel = Selector::new()?` |
//! | `sel.register(sock, selectors.EVENT_READ, data)` | `sel.register(&sock, EVENT_READ, data)?` |
//! | `for key, mask in sel.select():` | `for (key, events) in sel.select(None)? {` |
//! | `if mask & selectors.EVENT_READ:` | `if events.contains(EVENT_READ) {` |
//! | `sel.select(timeout=1.5)` | `sel.select(Some(Duration::from_millis(1500)))?` |
//! | `r, w, x = select.select(rs, ws, xs, 1.5)` | `let (r, w, x) = select(&rs, &ws, &xs, timeout)?` |
//!
//! Three things differ. A key identifies its descriptor by number and does not
//! own the socket. `data` has one type. A signal ends a wait at once, with an
//! empty list, so that the caller can check what its handler noted; Python goes
//! on waiting.

mod error;
mod events;
mod select;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token};

pub use error::SelectorError;
pub use events::{EVENT_READ, EVENT_WRITE, Events};
pub use select::{ReadyLists, select};

/// How many events one wait can take, at least; with more keys there is more
/// room.
const SMALLEST_BATCH: usize = 64;

/// A registered descriptor: what it is watched for, and the data its owner
/// attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorKey<T> {
    /// The descriptor's number.
    pub fd: RawFd,
    /// The events it is watched for.
    pub events: Events,
    /// Whatever the owner attached: a callback, a name, an index.
    pub data: T,
    /// Tells this registration from an earlier one with the same number.
    generation: u32,
}

impl<T> SelectorKey<T> {
    /// The number alone would not do. A registration outlives its descriptor
    /// while a duplicate of it is open (epoll(7), questions and answers), and
    /// its late events must not be mistaken for those of the number's next
    /// owner.
    fn token(&self) -> Token {
        Token((self.generation as usize) << 32 | self.fd as usize)
    }
}

/// Waits for many descriptors at once, like Python's
/// `selectors.DefaultSelector`.
///
/// [`register`](Selector::register) the descriptors to watch, then call
/// [`select`](Selector::select) in a loop; [`modify`](Selector::modify) and
/// [`unregister`](Selector::unregister) them as connections change and end.
/// Dropping the selector closes it.
///
/// It is level-triggered: every `select` reports each descriptor that is still
/// ready, such as one whose data was read only in part, or any socket with room
/// to send. Each report costs one `epoll_ctl` at the next call; a program that
/// cannot afford that uses the [`reactor`](crate::reactor).
///
/// Anything with a descriptor can be registered: sockets of std and of mio,
/// pipes, terminals, or a bare number (`&0` is standard input). The selector
/// neither owns nor closes it. Unregister a descriptor before closing it. If
/// you close it first, its key stays until it is unregistered, which always
/// works, even if the number belongs to another file by then; meanwhile the key
/// is silent, unless a duplicate of the descriptor is open.
///
/// # Example
/// ```
/// use onepoll::selectors::{EVENT_READ, Selector};
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = std::io::pipe()?;
/// let mut selector = Selector::new()?;
/// selector.register(&reader, EVENT_READ, "the pipe")?;
///
/// writer.write_all("안녕".as_bytes())?;
/// for (key, events) in selector.select(None)? {
///     assert!(events.contains(EVENT_READ) && key.data == "the pipe");
///     assert_eq!(reader.read(&mut [0; 100])?, 6);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Selector<T> {
    /// `None` once closed.
    poll: Option<Poll>,
    keys: BTreeMap<RawFd, SelectorKey<T>>,
    /// What the last `select` reported and mio will not report again by itself.
    reported: Vec<RawFd>,
    batch: mio::Events,
    next_generation: u32,
}

impl<T> Selector<T> {
    /// Makes an empty selector, which takes one descriptor for itself.
    ///
    /// # Errors
    /// [`SelectorError::System`] if the process has no descriptor left.
    pub fn new() -> Result<Selector<T>, SelectorError> {
        let poll = Poll::new().map_err(|e| SelectorError::system("make a selector", e))?;
        Ok(Selector {
            poll: Some(poll),
            keys: BTreeMap::new(),
            reported: Vec::new(),
            batch: mio::Events::with_capacity(SMALLEST_BATCH),
            next_generation: 0,
        })
    }

    /// Watches `source` for `events` from now on, with `data` attached.
    ///
    /// # Errors
    /// [`NoEvents`](SelectorError::NoEvents),
    /// [`AlreadyRegistered`](SelectorError::AlreadyRegistered),
    /// [`BadDescriptor`](SelectorError::BadDescriptor),
    /// [`Unsupported`](SelectorError::Unsupported) for regular files and
    /// directories, [`Closed`](SelectorError::Closed), or
    /// [`System`](SelectorError::System). An error leaves the selector as it
    /// was.
    pub fn register(
        &mut self,
        source: &impl AsRawFd,
        events: Events,
        data: T,
    ) -> Result<&SelectorKey<T>, SelectorError> {
        let registry = registry(&self.poll)?;
        let fd = source.as_raw_fd();
        let interest = events.interest().ok_or(SelectorError::NoEvents { fd })?;
        if fd < 0 {
            return Err(SelectorError::BadDescriptor { fd });
        }
        let Entry::Vacant(place) = self.keys.entry(fd) else {
            return Err(SelectorError::AlreadyRegistered { fd });
        };
        let key = SelectorKey { fd, events, data, generation: self.next_generation };
        watch(registry, fd, key.token(), interest).map_err(|e| SelectorError::refused(fd, e))?;
        self.next_generation = self.next_generation.wrapping_add(1);
        Ok(place.insert(key))
    }

    /// Stops watching `source` and returns its key.
    ///
    /// # Errors
    /// [`NotRegistered`](SelectorError::NotRegistered) or
    /// [`Closed`](SelectorError::Closed). It never fails because the descriptor
    /// has been closed, or because its number belongs to another file by now.
    pub fn unregister(&mut self, source: &impl AsRawFd) -> Result<SelectorKey<T>, SelectorError> {
        let registry = registry(&self.poll)?;
        let fd = source.as_raw_fd();
        let key = self.keys.remove(&fd).ok_or(SelectorError::NotRegistered { fd })?;
        // The kernel refuses only what it does not watch under this number (any
        // more), and that is what was asked for.
        let _ = registry.deregister(&mut SourceFd(&fd));
        Ok(key)
    }

    /// Changes what `source` is watched for, and its data. If `events` stay the
    /// same, this costs no system call.
    ///
    /// # Errors
    /// [`NoEvents`](SelectorError::NoEvents),
    /// [`NotRegistered`](SelectorError::NotRegistered) or
    /// [`Closed`](SelectorError::Closed), which change nothing. If the kernel
    /// refuses, as it does when the descriptor has been closed, the key is
    /// gone, as in Python: there is nothing left for it to stand for.
    pub fn modify(
        &mut self,
        source: &impl AsRawFd,
        events: Events,
        data: T,
    ) -> Result<&SelectorKey<T>, SelectorError> {
        let registry = registry(&self.poll)?;
        let fd = source.as_raw_fd();
        let interest = events.interest().ok_or(SelectorError::NoEvents { fd })?;
        let Entry::Occupied(mut place) = self.keys.entry(fd) else {
            return Err(SelectorError::NotRegistered { fd });
        };
        let key = place.get_mut();
        if key.events != events {
            if let Err(error) = registry.reregister(&mut SourceFd(&fd), key.token(), interest) {
                place.remove();
                return Err(SelectorError::refused(fd, error));
            }
            key.events = events;
        }
        key.data = data;
        Ok(place.into_mut())
    }

    /// Waits until something is ready and returns each ready key once, with
    /// those of its events that are ready.
    ///
    /// With a `timeout` of `None` it waits for as long as it takes; zero only
    /// looks; anything else is rounded up to the millisecond. The list is never
    /// empty before that time is over, unless a signal came.
    ///
    /// The keys are copies, so a loop over them may register and unregister. If
    /// the loop ends a connection other than the current one, the key of that
    /// connection may still follow in the list.
    ///
    /// # Errors
    /// [`SelectorError::Closed`] or [`SelectorError::System`].
    pub fn select(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Vec<(SelectorKey<T>, Events)>, SelectorError>
    where
        T: Clone,
    {
        self.arm_again();
        let poll = self.poll.as_mut().ok_or(SelectorError::Closed)?;
        if self.batch.capacity() < self.keys.len() {
            self.batch = mio::Events::with_capacity(self.keys.len().next_power_of_two());
        }
        // A moment too far off for the clock is as good as never.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match poll.poll(&mut self.batch, left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Vec::new()),
                result => result.map_err(|e| SelectorError::system("wait for events", e))?,
            }
            let mut ready = Vec::new();
            for event in &self.batch {
                let fd = event.token().0 as u32 as RawFd;
                if let Some(key) = self.keys.get(&fd).filter(|key| key.token() == event.token()) {
                    ready.push((key.clone(), Events::of(event) & key.events));
                    self.reported.push(fd);
                }
            }
            // The wait also ends for late events of registrations that are gone.
            if !ready.is_empty() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(ready);
            }
        }
    }

    /// The key of `source`.
    ///
    /// # Errors
    /// [`NotRegistered`](SelectorError::NotRegistered) or
    /// [`Closed`](SelectorError::Closed).
    pub fn get_key(&self, source: &impl AsRawFd) -> Result<&SelectorKey<T>, SelectorError> {
        let fd = source.as_raw_fd();
        self.get_map()?.get(&fd).ok_or(SelectorError::NotRegistered { fd })
    }

    /// All keys, by descriptor.
    ///
    /// # Errors
    /// [`SelectorError::Closed`].
    pub fn get_map(&self) -> Result<&BTreeMap<RawFd, SelectorKey<T>>, SelectorError> {
        registry(&self.poll).map(|_| &self.keys)
    }

    /// The selector's own descriptor, for finding it in /proc or in the output
    /// of strace. It is of no use in another selector: what was reported once
    /// is armed again only when `select` is called on this one.
    ///
    /// # Errors
    /// [`SelectorError::Closed`].
    pub fn fileno(&self) -> Result<RawFd, SelectorError> {
        self.poll.as_ref().map(|poll| poll.as_raw_fd()).ok_or(SelectorError::Closed)
    }

    /// Forgets all keys and releases the selector's descriptor; the registered
    /// descriptors stay open. Every later call is an error, except a second
    /// `close`.
    pub fn close(&mut self) {
        self.poll = None;
        self.keys.clear();
        self.reported.clear();
    }

    /// Makes an edge-triggered epoll level-triggered: EPOLL_CTL_MOD looks at
    /// the descriptor anew and reports it again if it is still ready.
    fn arm_again(&mut self) {
        let Some(poll) = &self.poll else { return };
        for fd in self.reported.drain(..) {
            let Some(key) = self.keys.get(&fd) else { continue };
            let Some(interest) = key.events.interest() else { continue };
            // Refused only if the number was closed, and perhaps reused since:
            // then there is nothing to report.
            let _ = poll.registry().reregister(&mut SourceFd(&fd), key.token(), interest);
        }
    }
}

/// Access to the kernel, unless the selector is closed.
fn registry(poll: &Option<Poll>) -> Result<&Registry, SelectorError> {
    poll.as_ref().map(Poll::registry).ok_or(SelectorError::Closed)
}

/// Adds `fd`. It may already be watched, under a registration that could not be
/// removed: its number was closed before it was unregistered, and a duplicate
/// has brought the same file back to that number. Such a registration is taken
/// over.
fn watch(registry: &Registry, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
    match registry.register(&mut SourceFd(&fd), token, interest) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            registry.reregister(&mut SourceFd(&fd), token, interest)
        }
        result => result,
    }
}
