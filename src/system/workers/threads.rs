//! The threads of the lanes.

use std::array;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::lanes::{Next, Queue};
use super::{Finished, Task};
use crate::service::Lane;
use crate::service::any::drop_guarded;
use crate::system::poll::Waker;

/// The threads of all lanes. Each is started when a task would have to wait without it.
pub(super) struct Threads {
    home: Home,
    lanes: [Arc<Shared>; Lane::ALL.len()],
    answers: Receiver<Finished>,
}

/// Where the answers go.
#[derive(Clone)]
struct Home {
    answers: Sender<Finished>,
    waker: Arc<Waker>,
}

/// What the loop and the threads of one lane share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl Threads {
    pub fn new(waker: Arc<Waker>) -> Threads {
        let (sender, answers) = channel();
        let lanes = array::from_fn(|_| Arc::new(Shared::default()));
        Threads { home: Home { answers: sender, waker }, lanes, answers }
    }

    pub fn submit(&self, task: Task) {
        let lane = task.lane;
        let shared = &self.lanes[lane as usize];
        let mut state = shared.lock();
        let refused = match state.queue.push(task) {
            Ok(()) => None,
            Err(task) => {
                let (job, finished) = task.refuse();
                Some((state.queue.push_refused(job), finished))
            }
        };
        if state.queue.len() > state.idle && state.threads < lane.threads() {
            self.start_thread(lane, &mut state);
        }
        drop(state);
        shared.work.notify_one();
        if let Some((unqueued, finished)) = refused {
            // So many wait to be dropped that this one is dropped here, without the lock.
            drop_guarded(unqueued);
            self.home.deliver(finished);
        }
    }

    pub fn next_answer(&self) -> Option<Finished> {
        self.answers.try_recv().ok()
    }

    fn start_thread(&self, lane: Lane, state: &mut State) {
        let (shared, home) = (Arc::clone(&self.lanes[lane as usize]), self.home.clone());
        let name = format!("{}-{}", lane.name(), state.threads);
        match thread::Builder::new().name(name).spawn(move || shared.work(&home)) {
            Ok(_) => state.threads += 1,
            Err(error) if state.threads > 0 => log::debug!("cannot start one more thread: {error}"),
            // Nobody would ever do what waits.
            Err(error) => {
                log::error!("cannot start a thread for jobs off the loop: {error}");
                while let Some(next) = state.queue.next() {
                    match next {
                        Next::Drop(job) => drop_guarded(job),
                        Next::Do(task) => {
                            let (job, finished) = task.refuse();
                            drop_guarded(job);
                            self.home.deliver(finished);
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Threads {
    /// The threads end after what they are at; nobody waits for them.
    fn drop(&mut self) {
        for shared in &self.lanes {
            shared.lock().is_over = true;
            shared.work.notify_all();
        }
    }
}

impl Home {
    fn deliver(&self, finished: Finished) {
        // Both fail only when the reactor is gone, and with it whoever would care.
        let _ = self.answers.send(finished);
        let _ = self.waker.wake();
    }
}

impl Shared {
    /// Nothing that can panic runs while it is locked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does until the reactor is gone.
    fn work(&self, home: &Home) {
        while let Some(next) = self.next() {
            match next {
                Next::Do(task) => home.deliver(task.settle()),
                Next::Drop(job) => drop_guarded(job),
            }
        }
    }

    fn next(&self) -> Option<Next> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(next) = state.queue.next() {
                return Some(next);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
