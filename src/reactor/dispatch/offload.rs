//! A few threads for work that must never run on the loop (name lookup, hashing,
//! reading a file), and the waker that brings their answers back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mio::Waker;

use crate::service::effects::Job;
use crate::service::ids::{ConnectionId, Handle, ServiceId};
use crate::service::{Answer, OffloadError};

/// How many threads: they mostly wait for a disk or a name server.
const THREADS: usize = 2;
/// Jobs that may wait; one more is answered with [`OffloadError::QueueFull`].
const QUEUE: usize = 1024;

struct Task {
    service: ServiceId,
    connection: Option<Handle>,
    job: Job,
}

/// An answer on its way to its service.
pub(crate) struct Finished {
    pub service: ServiceId,
    pub answer: Answer,
}

/// The threads; they start with the first job.
pub(crate) struct Offload {
    waker: Arc<Waker>,
    tasks: Option<SyncSender<Task>>,
    answers: (Sender<Finished>, Receiver<Finished>),
}

impl Offload {
    pub fn new(waker: Arc<Waker>) -> Offload {
        Offload { waker, tasks: None, answers: channel() }
    }

    /// Queues a job; its answer comes through [`Offload::next_answer`].
    pub fn submit(&mut self, service: ServiceId, connection: Option<Handle>, job: Job) {
        let tasks = self.tasks.get_or_insert_with(|| start_threads(&self.answers.0, &self.waker));
        let refused = match tasks.try_send(Task { service, connection, job }) {
            Ok(()) => return,
            Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => task,
        };
        answer(
            &self.answers.0,
            &self.waker,
            refused.service,
            refused.connection,
            Err(OffloadError::QueueFull),
        );
    }

    pub fn next_answer(&mut self) -> Option<Finished> {
        self.answers.1.try_recv().ok()
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
                let Ok(Task { service, connection, job }) = next else { return };
                let result = catch_unwind(AssertUnwindSafe(job)).map_err(|_| OffloadError::Panicked);
                answer(&answers, &waker, service, connection, result);
            }
        };
        if let Err(error) = thread::Builder::new().name(format!("offload-{number}")).spawn(work) {
            log::error!("cannot start an offload thread: {error}");
        }
    }
    sender
}

fn answer(
    answers: &Sender<Finished>,
    waker: &Waker,
    service: ServiceId,
    connection: Option<Handle>,
    result: Result<Box<dyn std::any::Any + Send>, OffloadError>,
) {
    let answer = Answer { connection: connection.map(ConnectionId), result };
    // Both fail only if the reactor is gone, and then nobody waits for the answer.
    let _ = answers.send(Finished { service, answer });
    let _ = waker.wake();
}
