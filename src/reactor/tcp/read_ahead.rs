//! Reading ahead: jobs off the loop bring into the page cache what will be sent of files
//! next, so that sending never waits for a disk.
//!
//! Looking at the pages of a file that is in the page cache already costs half as much as
//! sending them (measured: 21 µs per MiB, and 43). So a window is read once for all
//! connections that are sent the same [`File`], and for those that ask a little later.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::disk::File;
use crate::reactor::Reactor;
use crate::reactor::notices::Notice;
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Lane, OffloadError};
use crate::system::{Purpose, Task};

/// Jobs that run or wait for a thread. More would only keep what services ask for waiting.
const MOST_AT_ONCE: usize = 16;
/// How long the reactor waits, in microseconds, when too many jobs wait already.
const TRY_AGAIN_AFTER: u64 = 10_000;
/// How long, in microseconds, a window of a file is taken to stay in the page cache. The
/// kernel drops what was not used for longest, which takes more time even if memory is
/// short.
const STAYS_FOR: u64 = 2_000_000;
/// Windows of files that are remembered.
const REMEMBERED: usize = 256;

/// The windows of files that are being read, and were.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    running: Vec<Running>,
    /// The connections for which no job has been submitted yet.
    waiting: VecDeque<Handle>,
    /// What was read last, the latest behind the others.
    recent: VecDeque<Recent>,
    /// No job is submitted before.
    pub retry_at: Option<u64>,
    jobs: u64,
}

/// A window that a job reads, and for whom.
#[derive(Debug)]
struct Running {
    job: u64,
    file: Arc<File>,
    window: Range<u64>,
    readers: Vec<Handle>,
}

/// A window that was read. The file's address is its own as long as it is remembered.
#[derive(Debug)]
struct Recent {
    file: Weak<File>,
    window: Range<u64>,
    at: u64,
}

/// What is known of a window.
enum Found {
    /// It was read a short time ago.
    Recent,
    /// It is being read, now for this connection too.
    Joined,
    Nothing,
}

fn covers(outer: &Range<u64>, inner: &Range<u64>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

impl ReadAhead {
    fn find(&mut self, file: &Arc<File>, window: &Range<u64>, reader: Handle, now: u64) -> Found {
        let is_recent = |it: &Recent| {
            std::ptr::eq(it.file.as_ptr(), Arc::as_ptr(file))
                && covers(&it.window, window)
                && now - it.at < STAYS_FOR
        };
        if self.recent.iter().any(is_recent) {
            return Found::Recent;
        }
        let is_same = |it: &&mut Running| Arc::ptr_eq(&it.file, file) && covers(&it.window, window);
        match self.running.iter_mut().find(is_same) {
            Some(running) => {
                running.readers.push(reader);
                Found::Joined
            }
            None => Found::Nothing,
        }
    }

    fn remember(&mut self, file: &Arc<File>, window: Range<u64>, now: u64) {
        self.recent.retain(|it| now - it.at < STAYS_FOR && it.file.strong_count() > 0);
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { file: Arc::downgrade(file), window, at: now });
    }

    /// Checks that whoever waits will have its turn.
    #[cfg(feature = "simulated")]
    pub fn audit(&self) -> Result<(), String> {
        if self.running.len() > MOST_AT_ONCE || self.recent.len() > REMEMBERED {
            return Err(format!("{} windows are read, {} known", self.running.len(), self.recent.len()));
        }
        if !self.waiting.is_empty() && self.running.len() < MOST_AT_ONCE && self.retry_at.is_none() {
            return Err(format!("{} files wait to be read ahead, and nobody reads", self.waiting.len()));
        }
        Ok(())
    }
}

impl Reactor {
    /// Goes on with unsent output that no event will announce, because the socket has not
    /// refused it: a part of a file that was only queued, or of which a slice is out.
    pub(crate) fn send_on(&mut self, handle: Handle) {
        self.look_ahead(handle);
        self.submit_read_ahead();
    }

    /// Queues a connection that can send. If more of its file is needed, it waits for that.
    fn look_ahead(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        while let Some(outbox) = &mut stream.outbox
            && outbox.begin_read_ahead()
            && let Some((file, window)) = outbox.window()
        {
            match self.read_ahead.find(&file, &window, handle, now) {
                Found::Recent => outbox.was_read(window.end),
                Found::Joined => break,
                Found::Nothing => {
                    self.read_ahead.waiting.push_back(handle);
                    break;
                }
            }
        }
        if stream.can_send() {
            self.net.go_on(handle);
        }
    }

    fn submit_read_ahead(&mut self) {
        let now = self.net.now;
        while self.read_ahead.retry_at.is_none()
            && self.read_ahead.running.len() < MOST_AT_ONCE
            && let Some(handle) = self.read_ahead.waiting.pop_front()
        {
            // Its connection may have ended.
            let Some(stream) = self.net.stream(handle) else { continue };
            let service = stream.service;
            let Some((file, window)) = stream.outbox.as_mut().and_then(|outbox| outbox.window()) else {
                continue;
            };
            match self.read_ahead.find(&file, &window, handle, now) {
                Found::Recent => self.was_read(handle, window.end),
                Found::Joined => {}
                Found::Nothing => self.submit(service, handle, file, window),
            }
        }
    }

    fn submit(&mut self, service: ServiceId, handle: Handle, file: Arc<File>, window: Range<u64>) {
        self.read_ahead.jobs += 1;
        let job = self.read_ahead.jobs;
        let (its_file, its_window) = (Arc::clone(&file), window.clone());
        let work = move || Box::new(its_file.warm(its_window)) as Box<dyn Any + Send>;
        self.read_ahead.running.push(Running { job, file, window, readers: vec![handle] });
        let purpose = Purpose::ReadAhead(job);
        let (lane, job) = (Lane::Read, Box::new(work));
        self.workers.submit(Task { lane, service, connection: None, purpose, job });
    }

    /// A job is done: those who wait for it go on, and the next in line has its turn.
    pub(crate) fn was_read_ahead(&mut self, job: u64, result: Result<Box<dyn Any + Send>, OffloadError>) {
        let Some(at) = self.read_ahead.running.iter().position(|running| running.job == job) else { return };
        let Running { file, window, readers, .. } = self.read_ahead.running.swap_remove(at);
        match result.map(|outcome| outcome.downcast::<io::Result<()>>()) {
            Ok(Ok(outcome)) if outcome.is_ok() => {
                self.read_ahead.remember(&file, window.clone(), self.net.now);
                for reader in readers {
                    self.was_read(reader, window.end);
                }
            }
            Err(OffloadError::QueueFull) => {
                self.read_ahead.waiting.extend(readers);
                self.read_ahead.retry_at.get_or_insert(self.net.now + TRY_AGAIN_AFTER);
            }
            failed => {
                let why = match failed {
                    Ok(Ok(outcome)) => outcome.err().map(|error| error.to_string()),
                    _ => Some(OffloadError::Panicked.to_string()),
                };
                for reader in readers {
                    self.cannot_read(reader, why.as_deref().unwrap_or_default());
                }
            }
        }
        self.submit_read_ahead();
    }

    fn was_read(&mut self, reader: Handle, up_to: u64) {
        if let Some(outbox) = self.net.stream(reader).and_then(|stream| stream.outbox.as_mut()) {
            outbox.was_read(up_to);
        }
        self.look_ahead(reader);
    }

    /// Tries again what found too many jobs waiting.
    pub(crate) fn retry_read_ahead(&mut self) {
        if self.read_ahead.retry_at.take_if(|at| *at <= self.net.now).is_some() {
            self.submit_read_ahead();
        }
    }

    fn cannot_read(&mut self, handle: Handle, why: &str) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        let (name, peer) = (&self.hosts[stream.service].name, stream.peer);
        self.net.notices.say(
            Notice::Fault,
            now,
            format_args!("{name}: the file that {peer} is sent cannot be read: {why}"),
        );
        let error = io::Error::other(format!("the file cannot be read: {why}"));
        self.close(handle, CloseReason::Failed(error));
    }
}
