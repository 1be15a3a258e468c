//! Jobs off the loop, on real threads: lanes do not delay each other, and what a job has
//! captured is dropped on a thread of its lane even if the job never runs, since dropping
//! it may touch a disk.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use onepoll::service::{Answer, CloseReason, Context, Input, Lane, OffloadError, Service};
use support::{PATIENCE, Running, connect, read_line};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// More jobs than may wait in a lane, and fewer than may be dropped besides.
const FLOOD: usize = 1500;

/// Holds jobs up until it is opened, which the end of a test does too.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let is_shut = |is_open: &mut bool| !*is_open;
        drop(self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), PATIENCE, is_shut).unwrap());
    }
}

/// Tells on which thread it is dropped.
struct Witness(Sender<String>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().unwrap_or_default().to_owned());
    }
}

/// Offloads as many jobs as its input says, and says when it has.
struct Office {
    gate: Gate,
    dropped: Sender<String>,
    ran: Sender<()>,
    ended: Sender<()>,
}

impl Service for Office {
    type Session = ();

    /// `hold LANE COUNT`, where jobs wait for the gate, or `do LANE COUNT`.
    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let order = String::from_utf8(input.unread().to_vec()).unwrap();
        input.consume_all();
        let mut words = order.split_whitespace();
        let holds = words.next() == Some("hold");
        let lane = words.next().unwrap();
        let lane = Lane::ALL.into_iter().find(|known| format!("{known:?}") == lane).unwrap();
        for _ in 0..words.next().unwrap().parse::<usize>().unwrap() {
            let (witness, ran) = (Witness(self.dropped.clone()), self.ran.clone());
            let gate = holds.then(|| self.gate.clone());
            cx.offload(lane, move || {
                if let Some(gate) = gate {
                    gate.wait();
                }
                let _ = ran.send(());
                drop(witness);
            });
        }
        cx.send(b"asked\n");
    }

    fn finished(&mut self, session: Option<&mut ()>, answer: Answer, cx: &mut Context<'_>) {
        assert_eq!(session.is_some(), cx.connection().is_some());
        cx.send(match answer.result {
            Ok(_) => b"done\n",
            Err(OffloadError::QueueFull) => b"full\n",
            Err(OffloadError::Panicked) => b"fail\n",
        });
    }

    fn closed(&mut self, (): (), _: &CloseReason, _: &mut Context<'_>) {
        let _ = self.ended.send(());
    }
}

struct Stage {
    running: Running<SocketAddr>,
    gate: Gate,
    dropped: Receiver<String>,
    ran: Receiver<()>,
    ended: Receiver<()>,
}

impl Stage {
    fn new() -> Stage {
        let gate = Gate::default();
        let ((dropped, drops), (ran, runs), (ended, ends)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let office = Office { gate: gate.clone(), dropped, ran, ended };
        let running = Running::start(|reactor| {
            reactor.host("office", office).tcp(LOOPBACK).start().unwrap().1[0].address
        });
        Stage { running, gate, dropped: drops, ran: runs, ended: ends }
    }

    /// A client that has given an order, which is taken.
    fn order(&self, what: &str, lane: Lane, count: usize) -> TcpStream {
        let client = connect(self.running.made);
        (&client).write_all(format!("{what} {lane:?} {count}\n").as_bytes()).unwrap();
        assert_eq!(read_line(&client), "asked\n");
        client
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.gate.open();
    }
}

#[test]
fn a_lane_whose_threads_are_all_held_up_delays_no_other() {
    for held in Lane::ALL {
        let stage = Stage::new();
        let holder = stage.order("hold", held, 10 * held.threads());
        let same = stage.order("do", held, 1);
        for lane in Lane::ALL.into_iter().filter(|lane| *lane != held) {
            assert_eq!(read_line(&stage.order("do", lane, 1)), "done\n", "{lane:?} beside {held:?}");
        }
        same.set_nonblocking(true).unwrap();
        assert!(same.peek(&mut [0; 8]).is_err(), "{held:?} is held up");
        same.set_nonblocking(false).unwrap();
        stage.gate.open();
        assert_eq!((read_line(&same), read_line(&holder)), ("done\n".into(), "done\n".into()));
        let every = Lane::ALL.len() + 10 * held.threads();
        let threads: BTreeSet<String> =
            (0..every).map(|_| stage.dropped.recv_timeout(PATIENCE).unwrap()).collect();
        let its_name = format!("{held:?}-").to_lowercase();
        let its_own = threads.iter().filter(|thread| thread.starts_with(&its_name)).count();
        assert_eq!(its_own, held.threads(), "{threads:?}");
        assert_eq!(threads.len(), held.threads() + Lane::ALL.len() - 1, "one for a single job: {threads:?}");
    }
}

#[test]
fn a_job_whose_connection_has_ended_is_dropped_on_a_thread_of_its_lane() {
    let stage = Stage::new();
    let _holder = stage.order("hold", Lane::Write, Lane::Write.threads());
    let leaver = stage.order("do", Lane::Write, 1);
    drop(leaver);
    stage.ended.recv_timeout(PATIENCE).unwrap();
    assert!(stage.dropped.try_recv().is_err(), "not on the loop");
    stage.gate.open();
    for _ in 0..Lane::Write.threads() + 1 {
        let thread = stage.dropped.recv_timeout(PATIENCE).unwrap();
        assert!(thread.starts_with("write-"), "{thread}");
    }
    assert_eq!(stage.ran.try_iter().count(), Lane::Write.threads(), "it did not run");
}

#[test]
fn a_job_that_finds_no_room_is_dropped_on_a_thread_of_its_lane() {
    let stage = Stage::new();
    let client = stage.order("hold", Lane::Hash, FLOOD);
    let mut full = 0;
    while full < FLOOD - 1024 - Lane::Hash.threads() {
        assert_eq!(read_line(&client), "full\n");
        full += 1;
    }
    stage.gate.open();
    for _ in 0..FLOOD {
        assert_eq!(stage.dropped.recv_timeout(PATIENCE).unwrap(), "hash-0");
    }
}
