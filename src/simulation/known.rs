//! What is known not to hold yet. Each scenario is asserted to fail, so that
//! whoever mends it finds out here, and turns its test round.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Overrides};
use crate::hosting;
use crate::reactor::Reactor;
use crate::reactor::audit::Auditor;
use crate::services::CATALOG;
use crate::system::simulated::{Nature, Stream, World};

const PORT: u16 = 4_000;

fn hosted(text: &str) -> (World, Reactor) {
    let world = World::new(Nature::calm());
    let mut reactor = Reactor::simulated(&world).unwrap();
    let config = Config::parse(CATALOG, text, Path::new("known.toml"), &Overrides::default()).unwrap();
    for service in config.services {
        hosting::host(&mut reactor, service).unwrap();
    }
    (world, reactor)
}

fn call(world: &World, port: u16) -> Stream {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    world.call(at(port), at(PORT)).unwrap()
}

fn turns(reactor: &mut Reactor, count: usize) -> Result<(), String> {
    let mut auditor = Auditor::default();
    for _ in 0..count {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        auditor.look(reactor)?;
    }
    Ok(())
}

/// Connections are reaped last in a turn, so that one which has ended already
/// counts against its address when the next is accepted.
#[test]
fn a_peer_at_its_limit_that_reconnects_in_one_turn_is_still_turned_away() {
    let (world, mut reactor) = hosted("[services.echo]\ntcp = 4000\nconnections_per_peer = 1\n");
    let first = call(&world, 40_000);
    turns(&mut reactor, 3).unwrap();
    drop(first);
    let second = call(&world, 40_001);
    turns(&mut reactor, 3).unwrap();
    let end = second.read(&mut [0; 16]);
    assert_eq!(end.unwrap(), 0, "it is closed although its address has no other connection");
}
