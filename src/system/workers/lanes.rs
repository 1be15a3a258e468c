//! What waits for a thread.

use std::collections::VecDeque;

use super::Task;
#[cfg(feature = "simulated")]
use crate::service::Lane;
use crate::service::effects::Job;
use crate::service::ids::ServiceId;

/// Tasks of one service that may wait in one lane; one more is answered with
/// [`OffloadError::QueueFull`](crate::service::OffloadError::QueueFull).
const MOST_WAITING: usize = 1024;

/// The tasks that wait in one lane. Its services take turns, so that one with many tasks
/// delays another by one at most.
#[derive(Default)]
pub(in crate::system) struct Queue {
    services: VecDeque<(ServiceId, VecDeque<Task>)>,
    waiting: usize,
    /// Jobs that were refused and are to be dropped off the loop, since what they have
    /// captured may take long to drop.
    refused: VecDeque<Job>,
}

/// What a thread does next.
pub(in crate::system) enum Next {
    Do(Task),
    Drop(Job),
}

impl Queue {
    /// Adds a task; it comes back if its service has as many here as may wait.
    pub fn push(&mut self, task: Task) -> Result<(), Task> {
        match self.services.iter_mut().find(|(service, _)| *service == task.service) {
            Some((_, tasks)) if tasks.len() >= MOST_WAITING => return Err(task),
            Some((_, tasks)) => tasks.push_back(task),
            None => self.services.push_back((task.service, VecDeque::from([task]))),
        }
        self.waiting += 1;
        Ok(())
    }

    /// Adds a job that is only to be dropped; it comes back if too many are.
    pub fn push_refused(&mut self, job: Job) -> Result<(), Job> {
        if self.refused.len() >= MOST_WAITING {
            return Err(job);
        }
        self.refused.push_back(job);
        Ok(())
    }

    pub fn next(&mut self) -> Option<Next> {
        if let Some(job) = self.refused.pop_front() {
            return Some(Next::Drop(job));
        }
        let (service, mut tasks) = self.services.pop_front()?;
        let task = tasks.pop_front()?;
        self.waiting -= 1;
        if !tasks.is_empty() {
            self.services.push_back((service, tasks));
        }
        Some(Next::Do(task))
    }

    /// How much there is for threads to do.
    pub fn len(&self) -> usize {
        self.waiting + self.refused.len()
    }
}

/// The queues of all lanes, and how many threads of each are at work. The simulation has
/// these in place of threads.
#[cfg(feature = "simulated")]
#[derive(Default)]
pub(in crate::system) struct Lanes([(Queue, usize); Lane::ALL.len()]);

#[cfg(feature = "simulated")]
impl Lanes {
    pub fn push(&mut self, task: Task) -> Result<(), Task> {
        let (queue, _) = &mut self.0[task.lane as usize];
        queue.push(task)
    }

    /// The next task of a lane that has a thread for it.
    pub fn begin(&mut self, lane: Lane) -> Option<Task> {
        let (queue, busy) = &mut self.0[lane as usize];
        if *busy >= lane.threads() {
            return None;
        }
        match queue.next()? {
            Next::Do(task) => {
                *busy += 1;
                Some(task)
            }
            // Nothing is pushed there: what is refused is dropped at once.
            Next::Drop(_) => None,
        }
    }

    /// A thread of this lane is free again.
    pub fn end(&mut self, lane: Lane) {
        self.0[lane as usize].1 -= 1;
    }
}
