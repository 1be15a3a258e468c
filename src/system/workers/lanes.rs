//! What waits for a thread.

use std::collections::VecDeque;

use super::Task;
#[cfg(any(test, feature = "simulated"))]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn task(service: u32) -> Task {
        let (lane, service) = (Lane::Read, ServiceId(service));
        Task {
            lane,
            service,
            connection: None,
            purpose: super::super::Purpose::Service,
            job: Box::new(|| Box::new(())),
        }
    }

    /// The services whose tasks come next.
    fn order(queue: &mut Queue) -> Vec<u32> {
        let next = || match queue.next()? {
            Next::Do(task) => Some(task.service.0),
            Next::Drop(_) => panic!("nothing was refused"),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn services_take_turns_in_a_lane() {
        let mut queue = Queue::default();
        for service in [1, 1, 1, 2, 3, 3] {
            assert!(queue.push(task(service)).is_ok());
        }
        assert_eq!(queue.len(), 6);
        assert_eq!(order(&mut queue), [1, 2, 3, 1, 3, 1]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_service_whose_jobs_fill_its_part_of_a_lane_leaves_room_to_the_others() {
        let mut queue = Queue::default();
        let taken = (0..5000).filter(|_| queue.push(task(1)).is_ok()).count();
        assert_eq!(taken, MOST_WAITING);
        assert!(queue.push(task(2)).is_ok());
        assert_eq!(order(&mut queue)[..3], [1, 2, 1]);
    }

    #[test]
    fn what_was_refused_is_dropped_before_anything_else_is_done() {
        let mut queue = Queue::default();
        assert!(queue.push(task(1)).is_ok());
        let refused = (0..5000).filter(|_| queue.push_refused(task(1).job).is_ok()).count();
        assert_eq!((refused, queue.len()), (MOST_WAITING, MOST_WAITING + 1));
        assert!((0..MOST_WAITING).all(|_| matches!(queue.next(), Some(Next::Drop(_)))));
        assert_eq!(order(&mut queue), [1]);
    }
}
