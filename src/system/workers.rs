//! Threads for what must never run on the loop: name lookup, hashing, reading and writing
//! files.

mod lanes;
mod task;
mod threads;

use std::sync::Arc;

use super::poll::Waker;
#[cfg(feature = "simulated")]
use super::simulated::World;
use crate::service::Lane;

#[cfg(feature = "simulated")]
pub(super) use lanes::Lanes;
pub(crate) use task::{Ended, Finished, Purpose, Task};
use threads::Threads;

/// Does tasks off the loop, and wakes the poll when one is done.
pub(crate) struct Workers {
    site: Site,
    /// Tasks of each lane that have not come back.
    in_flight: [usize; Lane::ALL.len()],
}

enum Site {
    Threads(Threads),
    #[cfg(feature = "simulated")]
    Simulated(World),
}

impl Workers {
    pub fn threads(waker: Arc<Waker>) -> Workers {
        Workers { site: Site::Threads(Threads::new(waker)), in_flight: Default::default() }
    }

    #[cfg(feature = "simulated")]
    pub fn simulated(world: World) -> Workers {
        Workers { site: Site::Simulated(world), in_flight: Default::default() }
    }

    /// Queues a task; its answer comes through [`Workers::next_answer`].
    pub fn submit(&mut self, task: Task) {
        self.in_flight[task.lane as usize] += 1;
        match &mut self.site {
            Site::Threads(threads) => threads.submit(task),
            #[cfg(feature = "simulated")]
            Site::Simulated(world) => world.submit(task),
        }
    }

    /// The next task that has come back, done or not.
    pub fn next_answer(&mut self) -> Option<Finished> {
        let finished = match &mut self.site {
            Site::Threads(threads) => threads.next_answer(),
            #[cfg(feature = "simulated")]
            Site::Simulated(world) => world.next_answer(),
        }?;
        let in_flight = &mut self.in_flight[finished.lane as usize];
        *in_flight = in_flight.saturating_sub(1);
        Some(finished)
    }

    /// How many tasks of a lane have not come back.
    pub fn in_flight(&self, lane: Lane) -> usize {
        self.in_flight[lane as usize]
    }
}
