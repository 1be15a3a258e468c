//! Reading ahead: jobs off the loop bring into the page cache what will be sent of files
//! next, so that sending never waits for a disk.

use std::any::Any;
use std::collections::VecDeque;
use std::io;

use crate::reactor::Reactor;
use crate::reactor::notices::Notice;
use crate::service::ids::Handle;
use crate::service::{CloseReason, Lane, OffloadError};
use crate::system::{Purpose, Task};

/// Jobs that run or wait for a thread. More would only keep what services ask for waiting.
const MOST_AT_ONCE: usize = 16;
/// How long the reactor waits, in microseconds, when too many jobs wait already.
const TRY_AGAIN_AFTER: u64 = 10_000;

/// The connections whose files are read ahead.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    running: usize,
    /// Those whose turn is yet to come.
    waiting: VecDeque<Handle>,
    /// No job is submitted before.
    pub retry_at: Option<u64>,
}

/// The outcome of a job.
struct WasRead {
    up_to: u64,
    outcome: io::Result<()>,
}

impl Reactor {
    /// Goes on with unsent output that no event will announce, because the socket has not
    /// refused it: a part of a file that was only queued, or of which a slice is out.
    pub(crate) fn send_on(&mut self, handle: Handle) {
        let Some(stream) = self.net.stream(handle) else { return };
        let can_send = stream.can_send();
        if stream.outbox.as_mut().is_some_and(|outbox| outbox.begin_read_ahead()) {
            self.read_ahead.waiting.push_back(handle);
            self.submit_read_ahead();
        }
        if can_send {
            self.net.go_on(handle);
        }
    }

    fn submit_read_ahead(&mut self) {
        while self.read_ahead.retry_at.is_none()
            && self.read_ahead.running < MOST_AT_ONCE
            && let Some(handle) = self.read_ahead.waiting.pop_front()
        {
            let Some(stream) = self.net.stream(handle) else { continue };
            let service = stream.service;
            let Some((file, window)) = stream.outbox.as_mut().and_then(|outbox| outbox.window()) else {
                continue;
            };
            let job = move || {
                let was_read = WasRead { up_to: window.end, outcome: file.warm(window) };
                Box::new(was_read) as Box<dyn Any + Send>
            };
            let purpose = Purpose::ReadAhead(handle);
            self.read_ahead.running += 1;
            let (lane, job) = (Lane::Read, Box::new(job));
            self.workers.submit(Task { lane, service, connection: None, purpose, job });
        }
    }

    /// A job is done: its connection goes on, and the next in line has its turn.
    pub(crate) fn was_read_ahead(
        &mut self,
        handle: Handle,
        result: Result<Box<dyn Any + Send>, OffloadError>,
    ) {
        self.read_ahead.running -= 1;
        match result.map(|answer| answer.downcast::<WasRead>()) {
            Ok(Ok(was_read)) => match was_read.outcome {
                Ok(()) => {
                    if let Some(outbox) = self.net.stream(handle).and_then(|stream| stream.outbox.as_mut()) {
                        outbox.was_read(was_read.up_to);
                    }
                    self.send_on(handle);
                }
                Err(error) => self.cannot_read(handle, error),
            },
            Err(OffloadError::QueueFull) => {
                self.read_ahead.waiting.push_front(handle);
                self.read_ahead.retry_at.get_or_insert(self.net.now + TRY_AGAIN_AFTER);
            }
            Ok(Err(_)) | Err(OffloadError::Panicked) => {
                self.cannot_read(handle, io::Error::other("the job failed inside"));
            }
        }
        self.submit_read_ahead();
    }

    /// Tries again what found too many jobs waiting.
    pub(crate) fn retry_read_ahead(&mut self) {
        if self.read_ahead.retry_at.take_if(|at| *at <= self.net.now).is_some() {
            self.submit_read_ahead();
        }
    }

    fn cannot_read(&mut self, handle: Handle, error: io::Error) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        let (name, peer) = (&self.hosts[stream.service].name, stream.peer);
        self.net.notices.say(
            Notice::Fault,
            now,
            format_args!("{name}: the file that {peer} is sent cannot be read: {error}"),
        );
        self.close(handle, CloseReason::Failed(error));
    }
}
