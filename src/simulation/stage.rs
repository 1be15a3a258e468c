//! One run: the world, the daemon in it, its clients, and the order of events.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::Report;
use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::client::{Client, ROLES, Role};
use super::configuration::{CROWDS, Crowd, NOISY_CHAT, configuration};
use super::courier::{self, Complaints, Courier, Unrest};
use super::files;
use super::peer::Peer;
use super::tftp::TftpClient;
use crate::config::{Config, Description, Overrides};
use crate::disk::{self, Disk};
use crate::hosting;
use crate::reactor::Reactor;
use crate::reactor::audit::Auditor;
use crate::service::{Bound, Transport};
use crate::services::CATALOG;
use crate::system::simulated::{Exchanged, Faults, Nature, Rng, World};

const SECOND: u64 = 1_000_000;
const COURIER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7_777);
/// The most turns at one moment of virtual time: a loop that takes more is spinning.
const TURNS_AT_ONE_MOMENT: u32 = 20_000;
/// How long well-behaved clients may wait for their answers once the faults have
/// stopped. An unfinished line is held back for a second.
const ANSWERED_WITHIN: u64 = 3 * SECOND;
/// How long a TFTP client tries: five times, with waits that double up to eight seconds.
const TFTP_PATIENCE: u64 = 60 * SECOND;
/// How long the daemon may still know a connection after its client has closed it.
const FORGOTTEN_WITHIN: u64 = SECOND;

/// One address of a service.
#[derive(Debug, Clone)]
struct Target {
    service: String,
    address: SocketAddr,
}

fn address_of(service: &str, targets: &[Target]) -> SocketAddr {
    let found = targets.iter().find(|target| target.service == service);
    found.unwrap_or_else(|| panic!("{service} is not served")).address
}

pub(super) struct Stage {
    rng: Rng,
    world: World,
    disk: disk::simulated::Disk,
    reactor: Reactor,
    /// Where clients connect to, and where datagrams go.
    tcp: Vec<Target>,
    udp: Vec<Target>,
    auditor: Auditor,
    faults: Faults,
    drain_timeout: u64,
    throttled: bool,
    drains: bool,
    crowd: Option<Crowd>,
    line_length: usize,
    /// By how much the loop may oversleep in this world, in microseconds.
    oversleeps: u64,
    complaints: Complaints,
    /// Tells the courier never to rest; only where a turn takes time.
    unrest: Option<Unrest>,
    clients: Vec<Client>,
    peers: Vec<Peer>,
    tftp: TftpClient,
    /// Whether nothing but faults can keep a file from being stored.
    has_room: bool,
    last_port: u16,
    moment: (u64, u32),
}

impl Stage {
    pub fn new(seed: u64) -> Result<Stage, String> {
        Stage::of(CATALOG, seed)
    }

    /// A stage with these services, on their default ports.
    fn of(catalog: &[&'static Description], seed: u64) -> Result<Stage, String> {
        let mut rng = Rng::new(seed ^ 0x006f_6e65_706f_6c6c);
        let faults = if rng.chance(200) { Faults::default() } else { Faults::drawn(&mut rng) };
        let crowd = *rng.pick(&CROWDS);
        let buffer =
            if crowd == Some(Crowd::Loud) { 1_000_000 } else { *rng.pick(&[200, 4096, 65_536, 1_000_000]) };
        let nature = Nature {
            seed,
            faults,
            buffer,
            descriptors: *rng.pick(&[60, 100_000, 100_000]),
            turn: *rng.pick(&[0, 100, 5_000]),
            delay: *rng.pick(&[0, 1_000, 300_000]),
        };
        let world = World::new(nature.clone());
        // Opening the sockets is not under test.
        world.set_faults(Faults::default());
        let mut reactor = Reactor::simulated(&world).map_err(|error| error.to_string())?;
        reactor.watch_daemon_signals().map_err(|error| error.to_string())?;
        let (text, drain_timeout, throttled) = configuration(catalog, &mut rng, crowd);
        let disk = disk::simulated::Disk::new(seed);
        disk.set_faults(disk_faults(&faults, &mut rng));
        let capacity = *rng.pick(&[None, None, Some(200_000)]);
        disk.set_capacity(capacity);
        let overrides = Overrides { disk: Disk::Simulated(disk.clone()), ..Overrides::default() };
        let config = Config::parse(catalog, &text, Path::new("simulated.toml"), &overrides)
            .map_err(|error| format!("{error}\n{text}"))?;
        reactor.set_max_connections(config.limits.connections);
        let memory = *rng.pick(&[0, 0, 1_000_000, 30_000_000]);
        reactor.set_memory_budget(memory);
        let limits = config.limits.clone();
        let line_length = limits.line_length;
        let is_undisturbed = memory == 0
            && limits.connections == 0
            && limits.connections_per_peer.is_none_or(|at_most| at_most == 0)
            && nature.descriptors > 1_000
            && faults.accept == 0
            && limits.idle_timeout.is_none_or(|limit| limit > Duration::from_secs(60))
            && limits.send_timeout.is_none_or(|limit| limit > Duration::from_secs(20));
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for service in config.services {
            let (name, only_sends) = (service.name.clone(), service.plan.sends_to.is_some());
            let bound = hosting::host(&mut reactor, service).map_err(|error| error.to_string())?;
            for Bound { transport, address } in bound.into_iter().filter(|_| !only_sends) {
                let target = Target { service: name.clone(), address };
                match transport {
                    Transport::Tcp => tcp.push(target),
                    Transport::Udp => udp.push(target),
                }
            }
        }
        let (complaints, unrest) = (Complaints::default(), Unrest::default());
        // If nothing else happens, nothing can wake by chance what was forgotten.
        let every = if rng.chance(300) { 3_600_000 } else { rng.between(50, 5_000) };
        let every = Duration::from_millis(every as u64);
        let echo = address_of("echo", &tcp);
        reactor
            .host(
                courier::NAME,
                Courier::new(echo, every, is_undisturbed, complaints.clone(), unrest.clone()),
            )
            .limits(limits)
            .tcp(COURIER)
            .start()
            .map_err(|error| error.to_string())?;
        world.set_faults(faults);
        let tftp = TftpClient::new(address_of("tftp", &udp));
        Ok(Stage {
            rng,
            world,
            disk,
            reactor,
            tcp,
            udp,
            auditor: Auditor::default(),
            faults,
            drain_timeout,
            throttled,
            drains: false,
            crowd,
            line_length,
            oversleeps: 2 * nature.turn as u64 + if faults.stall > 0 { 3 * SECOND } else { 0 },
            complaints,
            unrest: (nature.turn > 0).then_some(unrest),
            clients: Vec::new(),
            peers: Vec::new(),
            tftp,
            has_room: capacity.is_none() && nature.descriptors > 1_000,
            last_port: 20_000,
            moment: (0, 0),
        })
    }

    pub fn play(mut self) -> Result<Report, String> {
        self.misbehave()?;
        if self.rng.chance(300) {
            self.drain()?;
        } else {
            self.calm_down()?;
            self.say_goodbye()?;
        }
        self.add_up()?;
        self.look_at_the_disk()?;
        let statistics = self.reactor.statistics();
        let trace = self.world.trace();
        self.leave_nothing_open()?;
        Ok(Report {
            trace,
            turns: statistics.turns,
            accepted: statistics.accepted,
            bytes: statistics.bytes_received + statistics.bytes_sent,
            datagrams: statistics.datagrams_received + statistics.datagrams_sent,
        })
    }

    /// Lets everybody act at random for a while.
    fn misbehave(&mut self) -> Result<(), String> {
        let steps = self.rng.between(50, 400);
        let most = self.rng.between(1, 30);
        for _ in 0..steps {
            match self.rng.below(10) {
                0 | 1 if self.clients.iter().filter(|client| client.is_open()).count() < most => {
                    self.welcome()
                }
                2 => self.throw_datagrams(),
                4 if self.rng.chance(300) => self.tftp.begin(&mut self.rng),
                3 if self.rng.chance(20) => self.world.signal(SIGUSR1),
                _ => {
                    for _ in 0..*self.rng.pick(&[1, 1, 1, 5]) {
                        self.let_one_act();
                    }
                }
            }
            let gap = *self.rng.pick(&[0, 0, 0, 100, 1_000, 50_000, 400_000]);
            let gap = if self.rng.chance(10) { 20 * SECOND } else { gap };
            self.pass(gap)?;
        }
        Ok(())
    }

    /// Connects a client, perhaps from an address that others have used.
    fn welcome(&mut self) {
        self.last_port += 1;
        let address: SocketAddr = match self.rng.below(4) {
            0 => (Ipv4Addr::new(192, 0, 2, 7), self.last_port).into(),
            1 => (Ipv4Addr::new(127, 0, 0, 2), self.last_port).into(),
            _ => (Ipv4Addr::LOCALHOST, self.last_port).into(),
        };
        let chats = self.crowd.is_some() && self.rng.chance(500);
        let role = if chats { Role::Chat } else { *self.rng.pick(&ROLES) };
        let shouts = match self.crowd {
            Some(Crowd::Loud) if chats => self.rng.chance(300),
            Some(Crowd::Quiet) => false,
            _ => self.rng.chance(20),
        };
        let to = match role {
            Role::Courier => COURIER,
            Role::Noise => {
                // The first chat is checked, so noise goes to the second.
                let noisy: Vec<_> = self.tcp.iter().filter(|target| target.service != "chat").collect();
                self.rng.pick(&noisy).address
            }
            role => address_of(role.service(), &self.tcp),
        };
        if let Some(socket) = self.world.call(address, to) {
            let number = self.clients.len() + 1;
            let client = Client::new(number, role, address, socket, self.line_length, shouts, &mut self.rng);
            self.clients.push(client);
        }
    }

    fn let_one_act(&mut self) {
        let open: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].is_open()).collect();
        if !open.is_empty() {
            let at = *self.rng.pick(&open);
            self.clients[at].act(&mut self.rng);
        }
    }

    fn throw_datagrams(&mut self) {
        if self.peers.is_empty() || self.peers.len() < 12 && self.rng.chance(200) {
            let forged: [SocketAddr; 5] = [
                address_of("echo", &self.udp),
                (Ipv4Addr::new(192, 0, 2, 9), 7).into(),
                (Ipv4Addr::new(192, 0, 2, 9), address_of("hello", &self.udp).port()).into(),
                (Ipv4Addr::BROADCAST, 4_000).into(),
                (Ipv4Addr::new(224, 0, 0, 1), 4_000).into(),
            ];
            let is_forged = self.rng.chance(200);
            let number = self.peers.len() as u16;
            // Those from elsewhere share addresses, and may not know of what they send.
            let ip = match self.rng.below(3) {
                0 => Ipv4Addr::new(192, 0, 2, 100 + number as u8 % 3),
                _ => Ipv4Addr::LOCALHOST,
            };
            let address = match is_forged {
                true => *self.rng.pick(&forged),
                false => (ip, 10_000 + number).into(),
            };
            self.peers.push(Peer::new(address, is_forged));
        }
        let at = self.rng.below(self.peers.len());
        let Target { service, address: to } = self.rng.pick(&self.udp).clone();
        for _ in 0..*self.rng.pick(&[1, 1, 3, 20]) {
            let datagram = self.peers[at].compose(&service, &mut self.rng);
            self.world.throw_datagram(self.peers[at].address, to, &datagram);
        }
    }

    /// Lets time pass; clients that always read do so.
    fn pass(&mut self, micros: u64) -> Result<(), String> {
        let end = self.world.micros() + micros;
        loop {
            let left = end.saturating_sub(self.world.micros());
            self.turn_for(left.min(SECOND))?;
            for client in &mut self.clients {
                client.listen(&mut self.rng);
                client.check()?;
            }
            if self.world.micros() >= end {
                return Ok(());
            }
        }
    }

    /// Turns the loop for this many microseconds, and audits it after each turn.
    fn turn_for(&mut self, micros: u64) -> Result<(), String> {
        let end = self.world.micros() + micros;
        loop {
            let left = end.saturating_sub(self.world.micros());
            let (before, next) = (self.world.micros(), Auditor::next_wake(&self.reactor));
            self.reactor.turn(Some(Duration::from_micros(left))).map_err(|error| error.to_string())?;
            let now = self.world.micros();
            if let Some(next) = next.map(|next| next.max(before))
                && now > next + self.oversleeps
            {
                return Err(format!("the loop slept {} µs too long", now - next));
            }
            self.look()?;
            if self.world.micros() >= end || self.reactor.has_ended() {
                return Ok(());
            }
        }
    }

    fn look(&mut self) -> Result<(), String> {
        self.auditor.look(&mut self.reactor)?;
        let now = self.world.micros();
        self.moment = if self.moment.0 == now { (now, self.moment.1 + 1) } else { (now, 0) };
        if self.moment.1 > TURNS_AT_ONE_MOMENT {
            return Err("the loop spins".to_owned());
        }
        if self.reactor.statistics().panics > 0 {
            return Err("a service panicked".to_owned());
        }
        // A drain cuts off what takes too long.
        if let Some(complaint) = self.complaints.first().filter(|_| !self.drains) {
            return Err(complaint);
        }
        if self.world.totals().datagrams_to_itself > 0 {
            return Err("the daemon sends datagrams to itself".to_owned());
        }
        self.nobody_is_flooded()?;
        self.hear_datagrams()
    }

    /// A source may be forged: what an address is sent is bounded by what came from it.
    fn nobody_is_flooded(&self) -> Result<(), String> {
        let now = self.world.micros();
        for Exchanged { address, came, sent, since } in self.world.exchanged() {
            let most = 3 * came + 4096 + (now - since) * 1024 / SECOND;
            if sent > most {
                return Err(format!("{address} was sent {sent} bytes, of at most {most}"));
            }
        }
        Ok(())
    }

    fn hear_datagrams(&mut self) -> Result<(), String> {
        let echo = address_of("echo", &self.udp);
        for message in self.world.take_outside() {
            self.tftp.hear(message.from, message.to, &message.bytes, &self.world);
            let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == message.to) else { continue };
            if peer.is_forged {
                return Err(format!("{} was answered, although it answers by itself", peer.address));
            }
            if message.from == echo {
                peer.hear_echo(&message.bytes)?;
            }
        }
        self.tftp.go_on(&self.world)
    }

    fn clients_hear(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            client.read(&mut self.rng);
            client.check()?;
        }
        Ok(())
    }

    /// Stops the faults and lets everybody read, then checks that everything was answered.
    fn calm_down(&mut self) -> Result<(), String> {
        self.world.calm_down();
        self.disk.set_faults(disk::simulated::Faults::default());
        self.clients.iter_mut().for_each(Client::behave);
        let (mut heard, mut since) = (0, self.world.micros());
        while self.world.micros() < since + ANSWERED_WITHIN {
            self.turn_for(SECOND / 50)?;
            self.clients_hear()?;
            // A long answer through small buffers takes a while, and so do jobs that wait for
            // each other.
            let now_heard = self.clients.iter().map(Client::answered).sum();
            if now_heard > heard || self.reactor.has_jobs() {
                (heard, since) = (now_heard, self.world.micros());
            }
        }
        for client in &self.clients {
            let end = self.world.end_of(client.address);
            client.check_all(end.as_deref())?;
            // Where the process stands still, nobody reads meanwhile.
            if self.faults.stall == 0 {
                client.check_timeout(end.as_deref())?;
            }
        }
        self.check_the_chat()?;
        if self.world.backlog() > 0 && self.world.has_free_descriptors() {
            return Err(format!("{} clients wait to be accepted", self.world.backlog()));
        }
        let loses_nothing = self.faults.datagram == 0 && self.faults.send_refused == 0;
        if loses_nothing {
            self.peers.iter().filter(|peer| !peer.is_forged).try_for_each(Peer::check_all)?;
        }
        self.store_and_fetch_once_more()
    }

    /// Checks that TFTP works once nothing is lost any more.
    fn store_and_fetch_once_more(&mut self) -> Result<(), String> {
        self.await_tftp()?;
        let before = self.tftp.completed;
        self.tftp.begin(&mut self.rng);
        self.await_tftp()?;
        if self.has_room && self.tftp.completed == before {
            return Err(format!("nothing comes back over TFTP: {:?}", self.tftp.failure()));
        }
        Ok(())
    }

    /// A transfer ends at last, whatever was lost before.
    fn await_tftp(&mut self) -> Result<(), String> {
        let begin = self.world.micros();
        while !self.tftp.is_idle() {
            if self.world.micros() > begin + TFTP_PATIENCE {
                return Err("a transfer over TFTP does not end".to_owned());
            }
            self.turn_for(SECOND / 50)?;
            self.clients_hear()?;
        }
        Ok(())
    }

    /// Checks that chat members hear each speaker in order and without gaps, and never
    /// themselves.
    fn check_the_chat(&mut self) -> Result<(), String> {
        let is_there =
            |client: &&Client| client.role == Role::Chat && client.is_open() && client.is_accepted();
        for client in self.clients.iter().filter(|client| client.role == Role::Chat) {
            for (speaker, heard) in client.heard()? {
                if speaker == client.number {
                    return Err(client.complain("heard itself"));
                }
                self.check_joined_before(client, speaker, &heard)?;
                if let Some(gap) = heard.windows(2).find(|pair| pair[1] != pair[0] + 1) {
                    return Err(client.complain(&format!("heard {speaker}:{} and then {}", gap[0], gap[1])));
                }
                let last = self.clients.iter().find(|other| other.number == speaker).filter(is_there);
                if let (Some(speaker), Some(heard), true, false) =
                    (last, heard.last(), is_there(&client) && !client.half_closed, self.throttled)
                    && *heard != speaker.said()
                {
                    let what =
                        format!("heard {heard} of {} lines of client {}", speaker.said(), speaker.number);
                    return Err(client.complain(&what));
                }
            }
        }
        Ok(())
    }

    /// Checks that a member hears nothing that was said before it joined.
    fn check_joined_before(&self, client: &Client, speaker: usize, heard: &[u32]) -> Result<(), String> {
        // If a member is throttled or waits for room, its words are read before they are relayed.
        let is_prompt = !self.throttled && !self.clients.iter().any(|client| client.shouts());
        let other = self.clients.iter().find(|other| other.number == speaker).filter(|_| is_prompt);
        let (Some(other), Some(first)) = (other, heard.first()) else { return Ok(()) };
        let taken = self.world.taken_before(client.address, other.address);
        if *first <= other.last_line_of(taken) {
            return Err(client.complain(&format!("heard {speaker}:{first}, which was said before it came")));
        }
        Ok(())
    }

    /// Checks that nothing is on the disk in part, and nothing that was given up.
    fn look_at_the_disk(&mut self) -> Result<(), String> {
        if !self.drains {
            // What is silent over UDP is given up, and what goes wrong then is removed at the
            // next chance.
            self.turn_for(11 * SECOND)?;
        }
        let folder = self.disk.contents(Path::new(files::FOLDER));
        files::check(&folder, self.clients.iter().map(|client| &client.upload))?;
        match files::unfinished(&folder) {
            count if count > 0 && !self.drains && self.faults == Faults::default() => {
                Err(format!("{count} unfinished uploads are still on the disk"))
            }
            _ => Ok(()),
        }
    }

    /// Lets everybody close: the daemon soon forgets them.
    fn say_goodbye(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            if client.is_open() && self.rng.chance(500) {
                client.half_close();
            }
        }
        self.turn_for(SECOND / 10)?;
        self.clients_hear()?;
        for client in &mut self.clients {
            client.leave();
        }
        self.world.wake();
        self.turn_for(FORGOTTEN_WITHIN)?;
        // A throttled chat member is read until everything it sent has been relayed, and what
        // was uploaded is stored.
        let port_of = |service| address_of(service, &self.tcp).port();
        let chats = [port_of("chat"), NOISY_CHAT, port_of("file"), port_of("upload")];
        let mut patience = 120;
        while !self.world.open_to_clients().is_empty() {
            let others =
                self.world.open_to_clients().into_iter().filter(|port| !chats.contains(port)).count();
            if others > 0 || patience == 0 {
                let open = self.world.open_to_clients();
                return Err(format!("connections to {open:?} are known although their clients have gone"));
            }
            patience -= 1;
            self.turn_for(SECOND)?;
        }
        Ok(())
    }

    /// Tells the daemon to end while everybody goes on.
    fn drain(&mut self) -> Result<(), String> {
        let begin = self.world.micros();
        self.drains = true;
        if let Some(unrest) = self.unrest.take().filter(|_| self.rng.chance(500)) {
            unrest.begin();
        }
        self.world.signal(*self.rng.pick(&[SIGTERM, SIGINT, SIGHUP]));
        // A turn that the world makes slow is not the loop's fault.
        let slack = 3 * SECOND;
        while !self.reactor.has_ended() {
            if self.world.micros() > begin + self.drain_timeout + slack {
                let open = self.reactor.statistics().connections;
                return Err(format!("it runs long after the drain timeout, with {open} connections"));
            }
            self.let_one_act();
            if self.rng.chance(300) {
                self.throw_datagrams();
            }
            let gap = *self.rng.pick(&[0, 1_000, 20_000]);
            self.turn_for(gap)?;
            self.clients_hear()?;
        }
        let open = self.reactor.statistics().connections;
        if open > 0 {
            return Err(format!("{open} connections are open after the end"));
        }
        Ok(())
    }

    /// Checks that the daemon and its clients leave no descriptor open.
    fn leave_nothing_open(self) -> Result<(), String> {
        let Stage { world, reactor, clients, .. } = self;
        drop((reactor, clients));
        match world.descriptors() {
            0 => Ok(()),
            open => Err(format!("{open} descriptors are open after the end")),
        }
    }

    fn add_up(&mut self) -> Result<(), String> {
        let (statistics, totals) = (self.reactor.statistics(), self.world.totals());
        let pairs = [
            ("bytes received", statistics.bytes_received, totals.read),
            ("bytes sent", statistics.bytes_sent, totals.written),
            ("datagrams received", statistics.datagrams_received, totals.datagrams_received),
            ("datagrams sent", statistics.datagrams_sent, totals.datagrams_sent),
            ("connections accepted", statistics.accepted + statistics.refused, totals.accepted),
        ];
        let wasted = self.world.calls().futile_writes;
        if wasted > 0 && self.faults.spurious_event == 0 {
            return Err(format!("{wasted} writes were tried although nothing had announced room"));
        }
        match pairs.iter().find(|(_, counted, real)| counted != real) {
            Some((what, counted, real)) => Err(format!("{counted} {what} are counted, {real} were")),
            None => Ok(()),
        }
    }
}

/// How often the disk fails, in a world where anything does.
fn disk_faults(faults: &Faults, rng: &mut Rng) -> disk::simulated::Faults {
    let mut rate = || if *faults == Faults::default() { 0 } else { *rng.pick(&[0, 0, 20, 300]) };
    disk::simulated::Faults {
        create: rate(),
        write: rate(),
        sync: rate(),
        rename: rate(),
        remove: rate(),
        read: rate(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::service::{Context, Service, SocketId};

    static CONNECTIONS: AtomicU32 = AtomicU32::new(0);
    static DATAGRAMS: AtomicU32 = AtomicU32::new(0);

    static NOVEL: Description = Description {
        name: "novel",
        about: "counts those who come",
        notes: "",
        tcp: Some(4_444),
        udp: Some(4_445),
        keys: &[],
        plan: |settings| settings.listen(Novel),
    };

    struct Novel;

    impl Service for Novel {
        type Session = ();

        fn open(&mut self, _: &mut (), _: &mut Context<'_>) {
            CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        }

        fn datagram(&mut self, _: SocketId, _: SocketAddr, _: &[u8], _: &mut Context<'_>) {
            DATAGRAMS.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_service_is_simulated_because_it_is_in_the_catalog() {
        let catalog = [CATALOG, &[&NOVEL]].concat();
        let is_met = || [&CONNECTIONS, &DATAGRAMS].iter().all(|count| count.load(Ordering::Relaxed) > 0);
        let met = (0..200).any(|seed| {
            Stage::of(&catalog, seed).unwrap().play().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            is_met()
        });
        assert!(met);
    }

    #[test]
    fn every_service_of_the_catalog_is_talked_to_on_each_of_its_ports() {
        let stage = Stage::of(CATALOG, 0).unwrap();
        for kind in CATALOG {
            let is_in = |targets: &[Target], port: Option<u16>| {
                port.is_none_or(|port| {
                    targets.iter().any(|to| to.service == kind.name && to.address.port() == port)
                })
            };
            assert!(is_in(&stage.tcp, kind.tcp), "{} over TCP", kind.name);
            // Nobody talks to a beacon, which only sends.
            assert!(is_in(&stage.udp, kind.udp) || kind.name == "beacon", "{} over UDP", kind.name);
        }
    }
}
