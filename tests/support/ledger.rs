//! Servers that make mistakes on purpose and write down each one, so that a test can
//! hold what a client noticed against what really happened.
#![allow(dead_code)] // each test file uses its own part

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a server does wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not sent.
    Loss,
    /// It is sent twice.
    Duplicate,
    /// It is sent after the next one.
    Swap,
    /// One of its bytes is another.
    Flip,
    /// One of its bytes is missing.
    Truncation,
    /// It has a byte too many.
    Insertion,
}

/// Faults at regular distances, each at another place in its message.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// They take turns.
    pub kinds: &'static [Fault],
    /// How many messages lie between two faults.
    pub distance: u64,
    /// How many faults there are on each connection.
    pub count: u64,
}

/// What a server did wrong so far, in the order of [`Fault`].
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<[AtomicU64; 6]>);

impl Ledger {
    pub fn count(&self, kind: Fault) -> u64 {
        self.0[kind as usize].load(Ordering::SeqCst)
    }
}

/// Passes on the messages of one connection, with faults.
struct Liar {
    faults: Faults,
    ledger: Ledger,
    passed: u64,
    made: u64,
    held: Option<Vec<u8>>,
}

impl Liar {
    fn new(faults: Faults, ledger: &Ledger) -> Liar {
        Liar { faults, ledger: ledger.clone(), passed: 0, made: 0, held: None }
    }

    /// What is sent for a message.
    fn pass(&mut self, mut message: Vec<u8>) -> Vec<Vec<u8>> {
        self.passed += 1;
        if let Some(held) = self.held.take() {
            return vec![message, held];
        }
        if !self.passed.is_multiple_of(self.faults.distance) || self.made == self.faults.count {
            return vec![message];
        }
        let kind = self.faults.kinds[self.made as usize % self.faults.kinds.len()];
        self.made += 1;
        self.ledger.0[kind as usize].fetch_add(1, Ordering::SeqCst);
        // 7 has no factor in common with any size that is tested.
        let place = (self.made * 7) as usize % message.len();
        match kind {
            Fault::Loss => return Vec::new(),
            Fault::Duplicate => return vec![message.clone(), message],
            Fault::Swap => {
                self.held = Some(message);
                return Vec::new();
            }
            Fault::Flip => message[place] ^= (self.made * 37 % 255 + 1) as u8,
            Fault::Truncation => drop(message.remove(place)),
            Fault::Insertion => message.insert(place, (self.made * 91) as u8),
        }
        vec![message]
    }
}

/// Echoes messages of `size` bytes over TCP.
pub fn echo(size: usize, faults: Faults) -> (SocketAddr, Ledger) {
    let ledger = Ledger::default();
    let writing = ledger.clone();
    let address = accept(move |mut stream, _| {
        let mut liar = Liar::new(faults, &writing);
        let mut message = vec![0; size];
        while stream.read_exact(&mut message).is_ok() {
            if stream.write_all(&liar.pass(message.clone()).concat()).is_err() {
                return;
            }
        }
    });
    (address, ledger)
}

/// Echoes datagrams.
pub fn echo_udp(faults: Faults) -> (SocketAddr, Ledger) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let ledger = Ledger::default();
    let writing = ledger.clone();
    thread::spawn(move || {
        let mut liars: HashMap<SocketAddr, Liar> = HashMap::new();
        let mut datagram = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let liar = liars.entry(from).or_insert_with(|| Liar::new(faults, &writing));
            for datagram in liar.pass(datagram[..length].to_vec()) {
                let _ = socket.send_to(&datagram, from);
            }
        }
    });
    (address, ledger)
}

/// A room in which every line of `size` bytes reaches every other member.
pub fn room(size: usize, faults: Faults) -> (SocketAddr, Ledger) {
    let ledger = Ledger::default();
    let writing = ledger.clone();
    let members: Arc<Mutex<Vec<(TcpStream, Liar)>>> = Arc::default();
    let address = accept(move |mut stream, _| {
        let own = stream.peer_addr().unwrap();
        members.lock().unwrap().push((stream.try_clone().unwrap(), Liar::new(faults, &writing)));
        let mut line = vec![0; size];
        while stream.read_exact(&mut line).is_ok() {
            for (member, liar) in members.lock().unwrap().iter_mut() {
                if member.peer_addr().is_ok_and(|peer| peer != own) {
                    let _ = member.write_all(&liar.pass(line.clone()).concat());
                }
            }
        }
    });
    (address, ledger)
}

/// Serves every connection in a thread of its own; connections are numbered from 0.
pub fn accept(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || {
                let stream = stream.unwrap();
                let _ = stream.set_nodelay(true);
                serve(stream, number);
            });
        }
    });
    address
}
