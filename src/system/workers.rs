//! Threads for what must never run on the loop: name lookup, hashing, reading a file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::poll::Waker;
#[cfg(feature = "simulated")]
use super::simulated::World;
use crate::service::effects::Job;
use crate::service::ids::{ConnectionId, Handle, ServiceId};
use crate::service::{Answer, OffloadError};

/// Threads: they mostly wait, for a disk or a name server.
const THREADS: usize = 2;
/// Tasks that may wait; one more is answered with [`OffloadError::QueueFull`].
const QUEUE: usize = 1024;

/// A job, and whom it is for.
pub(crate) struct Task {
    pub service: ServiceId,
    pub connection: Option<Handle>,
    pub purpose: Purpose,
    pub job: Job,
}

/// What a job is done for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its service asked for it.
    Service,
    /// The reactor will send what it reads of a file. It may be for several connections, so
    /// it belongs to none.
    ReadAhead(u64),
}

/// An answer on its way to its service.
pub(crate) struct Finished {
    pub service: ServiceId,
    pub purpose: Purpose,
    pub answer: Answer,
}

impl Task {
    /// Does the job. A panic in it is an answer too.
    pub fn run(self) -> Finished {
        let result = catch_unwind(AssertUnwindSafe(self.job)).map_err(|_| OffloadError::Panicked);
        Finished {
            service: self.service,
            purpose: self.purpose,
            answer: Answer { connection: self.connection.map(ConnectionId), result },
        }
    }

    /// Does not do it, since too many wait already.
    pub fn refuse(self) -> Finished {
        let answer =
            Answer { connection: self.connection.map(ConnectionId), result: Err(OffloadError::QueueFull) };
        Finished { service: self.service, purpose: self.purpose, answer }
    }
}

/// Does tasks off the loop, and wakes the poll when one is done.
pub(crate) enum Workers {
    Threads(Threads),
    #[cfg(feature = "simulated")]
    Simulated(World),
}

impl Workers {
    pub fn threads(waker: Arc<Waker>) -> Workers {
        Workers::Threads(Threads { waker, tasks: None, answers: channel() })
    }

    /// Queues a task; its answer comes through [`Workers::next_answer`].
    pub fn submit(&mut self, task: Task) {
        match self {
            Workers::Threads(threads) => threads.submit(task),
            #[cfg(feature = "simulated")]
            Workers::Simulated(world) => world.submit(task),
        }
    }

    pub fn next_answer(&mut self) -> Option<Finished> {
        match self {
            Workers::Threads(threads) => threads.answers.1.try_recv().ok(),
            #[cfg(feature = "simulated")]
            Workers::Simulated(world) => world.next_answer(),
        }
    }
}

/// The threads; none runs until the first task comes.
pub(crate) struct Threads {
    waker: Arc<Waker>,
    tasks: Option<SyncSender<Task>>,
    answers: (Sender<Finished>, Receiver<Finished>),
}

impl Threads {
    fn submit(&mut self, task: Task) {
        let tasks = self.tasks.get_or_insert_with(|| start_threads(&self.answers.0, &self.waker));
        if let Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) = tasks.try_send(task) {
            deliver(task.refuse(), &self.answers.0, &self.waker);
        }
    }
}

fn start_threads(answers: &Sender<Finished>, waker: &Arc<Waker>) -> SyncSender<Task> {
    let (sender, receiver) = sync_channel::<Task>(QUEUE);
    let receiver = Arc::new(Mutex::new(receiver));
    for number in 0..THREADS {
        let (receiver, answers, waker) = (Arc::clone(&receiver), answers.clone(), Arc::clone(waker));
        let work = move || {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(task) = next else { return };
                deliver(task.run(), &answers, &waker);
            }
        };
        if let Err(error) = thread::Builder::new().name(format!("offload-{number}")).spawn(work) {
            log::error!("cannot start an offload thread: {error}");
        }
    }
    sender
}

fn deliver(finished: Finished, answers: &Sender<Finished>, waker: &Waker) {
    // Both fail only when the reactor is gone, and with it whoever would care.
    let _ = answers.send(finished);
    let _ = waker.wake();
}
