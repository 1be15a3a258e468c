//! One service on the loop, in a world in which nothing goes wrong unless a test says so.

use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::reactor::Reactor;
use crate::reactor::audit::Auditor;
use crate::service::{Limits, Service, ServiceId};
use crate::system::simulated::{Nature, Stream, World};

pub(super) const NAME: &str = "staged";
pub(super) const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
/// Turns after which whatever can happen without time passing has happened.
pub(super) const A_FEW: usize = 10;

/// A service on the loop, and its world.
pub(super) struct Scene {
    pub world: World,
    pub reactor: Reactor,
    pub auditor: Auditor,
    pub service: ServiceId,
}

impl Scene {
    pub fn of<S: Service + 'static>(service: S, limits: Limits) -> Scene {
        Scene::within(Nature::calm(), service, limits)
    }

    /// As [`Scene::of`], in a world where a turn takes half a millisecond.
    pub fn in_time<S: Service + 'static>(service: S, limits: Limits) -> Scene {
        Scene::within(Nature { turn: 1_000, ..Nature::calm() }, service, limits)
    }

    pub fn within<S: Service + 'static>(nature: Nature, service: S, limits: Limits) -> Scene {
        let world = World::new(nature);
        let mut reactor = Reactor::simulated(&world).unwrap();
        let (service, _) = reactor.host(NAME, service).limits(limits).tcp(AT).udp(AT).start().unwrap();
        let mut scene = Scene { world, reactor, auditor: Auditor::default(), service };
        scene.turns(A_FEW);
        scene
    }

    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.reactor.turn(Some(Duration::ZERO)).unwrap();
            self.auditor.look(&mut self.reactor).unwrap();
        }
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.world.micros() + time.as_micros() as u64;
        while self.world.micros() < end && !self.reactor.has_ended() {
            let left = Duration::from_micros(end - self.world.micros());
            self.reactor.turn(Some(left)).unwrap();
            self.auditor.look(&mut self.reactor).unwrap();
        }
        self.turns(A_FEW);
    }

    /// A client from a port of its own, which the loop has accepted.
    pub fn call(&mut self, port: u16) -> Stream {
        let client = self.world.call((Ipv4Addr::LOCALHOST, port).into(), AT).unwrap();
        self.turns(A_FEW);
        client
    }

    pub fn say(&mut self, client: &Stream, words: &[u8]) {
        assert_eq!(client.write(&[IoSlice::new(words)]).unwrap(), words.len());
        self.turns(A_FEW);
    }

    /// Tells the loop to end, and returns how long that takes.
    pub fn drain(&mut self, at_most: Duration) -> Duration {
        self.reactor.drain();
        self.drain_on(at_most)
    }

    /// As [`Scene::drain`], for a loop that was told before.
    pub fn drain_on(&mut self, at_most: Duration) -> Duration {
        let told = self.world.micros();
        while !self.reactor.has_ended() {
            self.reactor.turn(Some(at_most)).unwrap();
            let took = Duration::from_micros(self.world.micros() - told);
            assert!(took <= at_most, "it still runs after {took:?}");
        }
        Duration::from_micros(self.world.micros() - told)
    }

    pub fn service<S: Service + 'static>(&mut self) -> &mut S {
        self.reactor.service_mut(self.service).unwrap()
    }
}

/// What a client hears until nothing more is there, and whether that was the end.
pub(super) fn hear(client: &Stream) -> (Vec<u8>, bool) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return (heard, true),
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (heard, false),
            Err(_) => return (heard, true),
        }
    }
}
