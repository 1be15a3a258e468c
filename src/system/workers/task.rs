//! A job on its way to a thread, and its answer on the way back.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::service::any::drop_guarded;
use crate::service::effects::Job;
use crate::service::ids::{Handle, ServiceId};
use crate::service::{Lane, OffloadError};

/// Tells the threads that a connection has ended, so that they drop its jobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A job, and whom it is for.
pub(crate) struct Task {
    pub lane: Lane,
    pub service: ServiceId,
    pub connection: Option<(Handle, Ended)>,
    pub purpose: Purpose,
    pub job: Job,
}

/// What a job is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its service asked for it.
    Service,
    /// The reactor will send a part of a file to this connection. The job is done even if
    /// the connection has ended: the reactor counts those that run.
    ReadAhead(Handle),
}

/// What comes back of a task.
pub(crate) struct Finished {
    pub lane: Lane,
    pub service: ServiceId,
    pub connection: Option<Handle>,
    pub purpose: Purpose,
    /// `None` if its connection had ended before it began.
    pub result: Option<Result<Box<dyn Any + Send>, OffloadError>>,
}

impl Task {
    /// Does the job, or drops it if its connection has ended. A panic is an answer too.
    pub fn settle(self) -> Finished {
        if self.connection.as_ref().is_some_and(|(_, ended)| ended.is_set()) {
            let (job, finished) = self.answered(None);
            drop_guarded(job);
            return finished;
        }
        let (job, finished) = self.answered(None);
        let result = catch_unwind(AssertUnwindSafe(job)).map_err(|_| OffloadError::Panicked);
        Finished { result: Some(result), ..finished }
    }

    /// Does not do it, since too many wait already. Dropping the job may take long.
    pub fn refuse(self) -> (Job, Finished) {
        self.answered(Some(Err(OffloadError::QueueFull)))
    }

    fn answered(self, result: Option<Result<Box<dyn Any + Send>, OffloadError>>) -> (Job, Finished) {
        let Task { lane, service, connection, purpose, job } = self;
        let connection = connection.map(|(handle, _)| handle);
        (job, Finished { lane, service, connection, purpose, result })
    }
}

impl Finished {
    /// Whether it had found no room to wait.
    #[cfg(feature = "simulated")]
    pub fn was_refused(&self) -> bool {
        matches!(self.result, Some(Err(OffloadError::QueueFull)))
    }
}
